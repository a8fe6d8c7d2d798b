"""Did it help to recycle a worker for its memory?

One at a time, and its outcome is waited for: what the successor has when it is ready is held against what was
predicted. After a recycle that freed less there is none for a minute, so that a limit nobody can keep, or a reading
that is wrong, costs one needless start of a worker a minute at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.errors import ExitCode
from launcher.monitor.control import Outcome

PAUSE_S = 60.0  # after one that freed less than predicted
REFUSED_S = 10.0  # after an ask that was not carried out: the worker was leaving already, the pool stops
# Of what was predicted: the successor has had a second to answer requests by the time it is looked at.
_ENOUGH = 0.5
WORTH = 0.1  # of the worker's memory; to free less is not worth the start of another one

Ask = Callable[[Mapping[str, Any], Outcome], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: of which worker, when (monotonic), what it had for itself, what its end should free.

    most_bytes: what its successor may have at most.
    newest: the highest number of a worker by then; whoever has a higher one has been started since.
    """

    pid: int
    at: float
    own_bytes: int
    predicted_bytes: int
    most_bytes: int
    newest: int


class Recycling:
    """Asks the pool to recycle a worker, and judges what came of it.

    asked: what is under way. over: whether it has come to its end, and is to be judged.
    """

    def __init__(self, ask: Ask) -> None:
        """Ask by `ask`, as `launcher.monitor.control.Control.ask` takes it."""
        self._ask = ask
        self.asked: Asked | None = None
        self._code: int | None = None
        self._not_before = float("-inf")

    def may_begin(self, now: float) -> bool:
        """Tell whether another one may be asked for."""
        return self.asked is None and now >= self._not_before

    def begin(self, asked: Asked) -> None:
        """Ask for it."""
        self.asked, self._code = asked, None
        self._ask({"ask": "recycle", "pid": asked.pid, "because": "memory"}, self._hear)

    @property
    def over(self) -> bool:
        """Whether the one under way has come to its end."""
        return self.asked is not None and self._code is not None

    @property
    def was_done(self) -> bool:
        """Whether the pool says that the worker is gone."""
        return self._code == ExitCode.OK

    def refused(self, now: float) -> None:
        """It was not carried out: ask again after a moment."""
        self.asked, self._not_before = None, now + REFUSED_S

    def nothing_to_judge(self) -> None:
        """The worker is gone and nobody came for it (it died, the pool has shrunk): that was no recycle."""
        self.asked = None

    def judge(self, after_bytes: int | None) -> None:
        """Hold what the successor has for itself against what was predicted; None: it is gone already."""
        asked, self.asked = self.asked, None
        if asked is not None and not _helped(asked, after_bytes):
            self._not_before = asked.at + PAUSE_S

    def _hear(self, code: int, _because: str) -> None:
        self._code = code


def _helped(asked: Asked, after_bytes: int | None) -> bool:
    if after_bytes is None or after_bytes > asked.most_bytes:
        return False
    return asked.own_bytes - after_bytes >= max(asked.predicted_bytes * _ENOUGH, asked.own_bytes * WORTH)
