"""When will the limit be reached, as it goes on now?"""

from __future__ import annotations

import math
from collections import deque

from launcher.monitor.watched import LOOKS

HASTY_S = (
    6.0  # where workers are known to leak: a successor takes a second or two to be ready, and the old one to leave
)
_HASTY_LOOKS = 2  # in a row at which the limit is seconds away


class Pace:
    """Of the last looks.

    left_s: until then, infinite for what does not grow. is_hasty: that is soon, and was soon at the look before.
    """

    def __init__(self) -> None:
        """Begin without any look."""
        self._needed: deque[tuple[float, int]] = deque(maxlen=LOOKS)
        self._hasty = 0
        self.left_s = math.inf

    @property
    def is_hasty(self) -> bool:
        """Whether it has been seconds away twice."""
        return self._hasty >= _HASTY_LOOKS

    def look(self, now: float, needed_bytes: int, limit_bytes: int) -> None:
        """Take note of a reading."""
        self._needed.append((now, needed_bytes))
        self.left_s = _left_s(self._needed, limit_bytes)
        self._hasty = self._hasty + 1 if self.left_s <= HASTY_S else 0

    def forget(self) -> None:
        """What was read before tells nothing of how it goes on from here."""
        self._needed.clear()
        self._hasty, self.left_s = 0, math.inf


def _left_s(needed: deque[tuple[float, int]], limit_bytes: int) -> float:
    (at, now), paces = needed[-1], [0.0]
    if len(needed) > 1 and now <= needed[-2][1]:  # a step that is over is no pace
        return math.inf
    for before, bytes_before in list(needed)[:-1]:
        paces.append((now - bytes_before) / max(at - before, 0.1))
    pace = max(paces)  # a worker that has just gone makes the longer one smaller
    return (limit_bytes - now) / pace if pace > 0 else math.inf
