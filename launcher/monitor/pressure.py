"""Does the pool need almost all the memory there is?

What the group cannot give back is held against its limit, not what it uses: a group may stand at its limit by page
cache alone, and be in no danger. At the pace of a leak nine tenths may be too late, so the pace is looked at, too.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from launcher.limits.usage import GroupUsage
from launcher.monitor.watch import LEAK_LEFT_S
from launcher.monitor.watched import LOOKS
from launcher.units import human_bytes

PRESSED = 0.9  # of the limit
_OVER = 0.85  # below it, it is said anew when it comes again
_HASTY_LOOKS = 2  # in a row at which the limit is seconds away


class Pressure:
    """Says so, and has the largest worker recycled. `look` has to be called about once a second."""

    def __init__(
        self,
        usage: Callable[[], GroupUsage | None],
        limit_bytes: Callable[[], int | None],
        relieve: Callable[[int, float], str],
        warn: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold `usage` against `limit_bytes`; either may be unknown.

        relieve: called at each look with what is left of the limit, and for how many seconds (0: it is pressed already;
        infinite: there is no need); does something, and returns in words what, or why nothing.
        """
        self._usage, self._limit, self._relieve, self._warn, self._clock = usage, limit_bytes, relieve, warn, clock
        self._last: GroupUsage | None = None
        self._needed: deque[tuple[float, int]] = deque(maxlen=LOOKS)
        self._looks = self._hasty = 0
        self._is_said = False

    def look(self) -> None:
        """Read, and do what can be done now."""
        usage, limit = self._usage(), self._limit()
        self._last = usage
        if usage is None or not limit:
            return
        needed = usage.needed_bytes
        self._needed.append((self._clock(), needed))
        left_s = _left_s(self._needed, limit)
        self._looks = self._looks + 1 if needed > limit * PRESSED else 0
        self._hasty = self._hasty + 1 if left_s <= LEAK_LEFT_S else 0
        self._is_said = self._is_said and needed > limit * _OVER
        if self._looks and self._looks % LOOKS == 0:
            self._say(usage, limit, self._relieve(limit - needed, 0.0))
        else:
            self._relieve(limit - needed, left_s if self._hasty >= _HASTY_LOOKS else math.inf)

    def facts(self) -> dict[str, Any]:
        """Return what `status` shows of it."""
        known = {} if self._last is None else {"needed_bytes": self._last.needed_bytes}
        return {**known, "pressed": self._looks >= LOOKS}

    def _say(self, usage: GroupUsage, limit: int, said: str) -> None:
        if self._is_said:
            return
        self._is_said = True
        short = f"{human_bytes(usage.needed_bytes)} of {human_bytes(limit)} cannot be given back"
        self._warn(
            "launcher.memory_pressed",
            because=f"{short}: {said or 'a worker is being recycled'}",
            needed_bytes=usage.needed_bytes,
            anon_bytes=usage.anon_bytes,
            shmem_bytes=usage.shmem_bytes,
            kernel_bytes=usage.kernel_bytes,
            limit_bytes=limit,
            source=usage.source,
        )


def _left_s(needed: deque[tuple[float, int]], limit_bytes: int) -> float:
    """Return when the limit will be reached at the pace of the last looks; infinite for who does not grow."""
    (at, now), paces = needed[-1], [0.0]
    for before, bytes_before in list(needed)[:-1]:
        paces.append((now - bytes_before) / max(at - before, 0.1))
    pace = max(paces)  # a worker that has just gone makes the longer one smaller
    return (limit_bytes - now) / pace if pace > 0 else math.inf
