"""Do the workers still share what was loaded before the fork?

With --preload a worker begins with a few pages of its own. A request that writes to a shared one has it copied, and to
read a Python object is to write to it: its reference count. Then a worker's own memory grows and what is resident in
it does not, which tells it from a leak. To see that, the kernel has to walk the worker's pages, so they are walked when
the group's anonymous memory has grown: nothing can be un-shared without that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from launcher.errors import ExitCode
from launcher.limits.footprint import Footprint
from launcher.monitor.recycling import Ask
from launcher.monitor.watched import Ready
from launcher.units import human_bytes

_GROWN_BYTES, _GROWN = 8 << 20, 0.05  # of the group since the last walk of all; a worker's own start is as much
_LOST_BYTES, _LOST = 16 << 20, 0.25  # of what it had when new: what traffic costs without a cause, 13 MB (evidence A3)
_TURN_S, _BLIND_TURN_S = 60.0, 10.0  # for the next worker, whatever the group says; where there is no group
_AT_ONCE_S = 0.05  # spent on walking pages before the next answer is due
_PAUSE_S = 5.0  # between two asks, and until the pool has the size that it has found
_LATE_S = 30.0  # for the answer
_HOLDS_S = 600.0  # without a further loss: then the others have been asked for the same, or never are
_BECAUSE = "requests un-share the pages that were loaded before the fork"
_WHY = f"{_BECAUSE}: objects that they touch are copied for each worker, since that changes their reference counts"


class Sizes(Protocol):
    """Says how much memory a process has; None: it is gone."""

    def cheap(self, pid: int) -> int | None:
        """Return at once the bytes that are resident and of no file, those shared with a fork, too."""

    def footprint(self, pid: int) -> Footprint | None:
        """Return what a walk of its pages finds."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A worker when it was walked: what it had for itself, and what it had at most (`cheap`)."""

    own_bytes: int
    cheap_bytes: int


class Sharing:
    """Says when it is over, and has the pool measured again. `look` is to be called about once a second."""

    def __init__(
        self,
        ready: Callable[[], Iterable[Ready]],
        sizes: Sizes,
        ask: Ask,
        warn: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the workers that `ready` returns. ask: of the pool. warn: to the log."""
        self._ready, self._sizes, self._ask, self._warn, self._clock = ready, sizes, ask, warn, clock
        self._due: list[int] = []  # numbers, the next first
        self._walked: dict[int, Footprint] = {}
        self._new: dict[int, _Seen] = {}  # generation -> the one of its workers that has shared most
        self._told: dict[int, int] = {}  # number -> what it had for itself when the pool was last told of it
        self._lost: dict[int, int] = {}  # number -> how much it has un-shared
        self._most_lost: dict[int, int] = {}  # generation -> the most that one of its workers has
        self._said: set[int] = set()  # generations
        self._refused: set[int] = set()
        self._vague: set[int] = set()  # numbers of those whose pages may not be walked
        self._anon_bytes = 0
        self._turn_at = self._asked_at = self._quiet_until = self._lost_at = float("-inf")
        self._is_asked = False
        self._to_ask: Ready | None = None

    def look(self, anon_bytes: int | None) -> int | None:
        """Walk who is due, and say what was found.

        anon_bytes: of the whole group; None: nothing tells. Return how much the workers will need besides when all have
        lost what one has, in bytes (0 while the pool finds its size anew, and when none has lost any for ten minutes);
        None: nobody has lost much.
        """
        now = self._clock()
        there = {one.number: one for one in self._ready() if not one.boots}
        self._forget(there)
        self._see_who_is_due(there, anon_bytes, now)
        while self._due and self._clock() - now < _AT_ONCE_S:
            self._walk(there[self._due.pop(0)])
        if self._to_ask is not None and not self._is_asked and now - self._asked_at >= _PAUSE_S:
            self._remeasure(self._to_ask, now)
        return self._coming(there) if self._most_lost else None

    def _coming(self, there: Mapping[int, Ready]) -> int:
        now = self._clock()
        is_asked = self._is_asked and now - self._asked_at <= _LATE_S  # one that boots for long may keep the answer
        if is_asked or self._to_ask is not None or not self._quiet_until <= now <= self._lost_at + _HOLDS_S:
            return 0
        still = (self._most_lost.get(one.generation, 0) - self._lost.get(one.number, 0) for one in there.values())
        return sum(max(0, one) for one in still)

    def facts(self) -> dict[str, Any]:
        """Return what `status` shows of it: which part of the resident memory would be there without sharing."""
        return {} if (ratio := self._ratio()) is None else {"share_ratio": ratio}

    def _ratio(self) -> float | None:
        rss = sum(one.rss_bytes for one in self._walked.values())
        return round(sum(one.pss_bytes for one in self._walked.values()) / rss, 3) if rss else None

    def _forget(self, there: dict[int, Ready]) -> None:
        generations = {one.generation for one in there.values()}
        self._due = [number for number in self._due if number in there]
        self._walked = {number: seen for number, seen in self._walked.items() if number in there}
        self._vague &= there.keys()
        self._told = {number: own for number, own in self._told.items() if number in there}
        self._lost = {number: lost for number, lost in self._lost.items() if number in there}
        self._new = {number: seen for number, seen in self._new.items() if number in generations}
        self._most_lost = {number: lost for number, lost in self._most_lost.items() if number in generations}
        if self._to_ask is not None and self._to_ask.number not in there:
            self._to_ask = None

    def _see_who_is_due(self, there: dict[int, Ready], anon_bytes: int | None, now: float) -> None:
        if anon_bytes is not None:
            ours = min(self._anon_bytes, sum(one.pss_bytes for one in self._walked.values()))  # others may be in there
            if anon_bytes - self._anon_bytes > max(_GROWN_BYTES, ours * _GROWN):
                self._add(there)
                self._anon_bytes = anon_bytes
            self._anon_bytes = min(self._anon_bytes, anon_bytes)  # after a worker's end its pages are no reserve
        if self._walked and now - self._turn_at >= (_BLIND_TURN_S if anon_bytes is None else _TURN_S):
            self._turn_at = now
            self._add([next(iter(self._walked))])  # the one that was walked first
        self._add(number for number in there if number not in self._walked and number not in self._vague)

    def _add(self, numbers: Iterable[int]) -> None:
        self._due += [number for number in numbers if number not in self._due]

    def _walk(self, worker: Ready) -> None:
        cheap, footprint = self._sizes.cheap(worker.pid), self._sizes.footprint(worker.pid)
        self._walked.pop(worker.number, None)
        if cheap is None or footprint is None:
            return
        if not footprint.is_exact:
            self._vague.add(worker.number)
            return
        self._walked[worker.number] = footprint
        seen = _Seen(footprint.own_bytes, cheap)
        new = self._new.setdefault(worker.generation, seen)
        if seen.own_bytes < new.own_bytes:
            new = self._new[worker.generation] = seen
        lost = self._lost[worker.number] = _lost(new, seen)
        if lost > _much(new.own_bytes):
            self._most_lost[worker.generation] = max(lost, self._most_lost.get(worker.generation, 0))
            self._tell(worker, footprint, new)

    def _tell(self, worker: Ready, now: Footprint, new: _Seen) -> None:
        told = self._told.get(worker.number, new.own_bytes)
        if now.own_bytes - told > _much(new.own_bytes):
            self._told[worker.number], self._lost_at = now.own_bytes, self._clock()
            self._to_ask = None if worker.generation in self._refused else worker
        if worker.generation in self._said:
            return
        self._said.add(worker.generation)
        self._warn(
            "launcher.sharing_broken",
            because=_WHY,
            pid=worker.pid,
            private_bytes=now.own_bytes,
            was_bytes=new.own_bytes,
            shared_bytes=max(0, now.rss_bytes - now.own_bytes),
            share_ratio=self._ratio(),
        )

    def _remeasure(self, worker: Ready, now: float) -> None:
        self._to_ask, self._is_asked, self._asked_at = None, True, now
        own = human_bytes(self._told[worker.number])

        def hear(code: int, _because: str) -> None:
            self._is_asked = False
            if code == ExitCode.USAGE:  # somebody has said how many there are: the pressure is what counts then
                self._refused.add(worker.generation)
            elif code == ExitCode.OK:
                self._quiet_until = self._clock() + _PAUSE_S
            else:
                self._to_ask = self._to_ask or worker

        self._ask({"ask": "remeasure", "because": f"{_BECAUSE}: worker {worker.pid} has {own} for itself by now"}, hear)


def _lost(new: _Seen, seen: _Seen) -> int:
    """Return how much it has un-shared: what it has for itself now, less what is resident beyond what was."""
    return seen.own_bytes - new.own_bytes - max(0, seen.cheap_bytes - new.cheap_bytes)


def _much(own_bytes: int) -> float:
    return max(_LOST_BYTES, own_bytes * _LOST)
