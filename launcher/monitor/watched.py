"""What is known of the memory of one worker?"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

LOOKS = 3  # in a row: a garbage collection, or a large answer, is over by then
FRESH_S = 10.0  # after a worker was ready: it has answered requests and loaded what it loads late
SOON_S = 120.0  # after the start
_OLD_S = FRESH_S + 2 * LOOKS  # nothing is new any more
_WALKED_S = 10.0  # as long as a walk holds that has found less than the limit; a fork's pages are un-shared meanwhile
_LEAK_LOOKS, _LEAK_RISES = 8, 5  # so many of so many
_RISES = 1.002  # from a look to the next
LOADING_S = 20.0  # the longest that what grows is taken for something that is loaded
_BEFORE_S = 10.0  # that a request may have been there before: it fetches first what it then loads
_LOADS_S = 0.2  # of a request that was there at the first look at which it had grown
_STEP_BYTES, _STEP = 16 << 20, 0.05  # each large request leaks as much
_LEAK_STEPS = 3  # two models may be loaded one after the other
_GROWS = 1.01  # within LOOKS looks
_APART_S = 0.5  # two walks of the same second tell nothing of growth
LARGER = 1.2  # than the smallest, or than itself when it was new: then it is to blame


class Sizes(Protocol):
    """Says how much memory a process has for itself, in bytes; None: it is gone."""

    def cheap(self, pid: int) -> int | None:
        """Return at once what it has at most."""

    def own(self, pid: int) -> int | None:
        """Return exactly what its end would free."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker that serves: its number (never used again), its process, since when (monotonic).

    boots: it does not serve yet: all that is known of it is that it takes memory meanwhile.
    generation: of the code it runs; with --preload those of one share what was loaded before the fork.
    requests: how many it has answered.
    """

    number: int
    pid: int
    since: float
    boots: bool = False
    generation: int = 1
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Relief:
    """What is done for a pool that is short of memory.

    because: what is begun, or else why nothing is. is_enough: something is under way, or there is no need after all.
    for_s: for so many seconds it is under way. is_passing: what grows loads something, and will be done.
    """

    because: str
    is_enough: bool = False
    for_s: float = 0.0
    is_passing: bool = False


@dataclass(slots=True)
class Watched:
    """What is known of a worker.

    own_bytes: what it had for itself when its pages were last walked, at `walked_at`; `cheap_bytes` then.
    born_bytes: what it had when it was met, if it was young then, or has come for one that was recycled.
    born_cheap_bytes: then, too, what it had at most: shared pages are in it, so it is never held against own ones.
    fresh_bytes: what it had when it was new; None: not yet, or nobody looked then.
    above: looks in a row at which it was above the limit. last: what it had at most at the last looks. rises: whether
    it had more than at the look before. answered: how many requests it had answered by then.
    loads: whether it loaded something at the last looks. flat_at: when it was last seen not growing.
    streams: it had requests, or WebSockets, that were open before it grew. steps: how often it has grown by a good part
    at once, from `level_bytes` on, and kept it.
    not_before: a minute after one was recycled in whose place it is.
    is_successor: it has come for one that was recycled. replaced_bytes: what that one had, if it did not grow.
    has_gained: between the last two walks. has_reached: it was above the limit for long once.
    """

    ready: Ready
    own_bytes: int = 0
    cheap_bytes: int = 0
    walked_at: float = float("-inf")
    born_bytes: int | None = None
    born_cheap_bytes: int | None = None
    fresh_bytes: int | None = None
    above: int = 0
    last: deque[int] = field(default_factory=lambda: deque(maxlen=LOOKS))
    rises: deque[bool] = field(default_factory=lambda: deque(maxlen=_LEAK_LOOKS))
    answered: deque[int] = field(default_factory=lambda: deque(maxlen=LOOKS))
    loads: deque[bool] = field(default_factory=lambda: deque(maxlen=LOOKS))
    flat_at: float = float("-inf")
    streams: bool = False
    level_bytes: int = 0
    steps: int = 0
    not_before: float = float("-inf")
    is_successor: bool = False
    replaced_bytes: int | None = None
    has_gained: bool = True
    has_reached: bool = False

    @property
    def grows(self) -> bool:
        """Whether it has grown within the last looks."""
        return len(self.last) == LOOKS and self.last[-1] > self.last[0] * _GROWS

    def seen(self, cheap_bytes: int, requests: int, now: float) -> None:
        """Take note of a look."""
        self.answered.append(requests)
        self.rises.append(bool(self.last) and cheap_bytes > self.last[-1] * _RISES)
        self.last.append(cheap_bytes)
        if not self.rises[-1]:
            self.flat_at = now
            self._end_step(cheap_bytes)

    def _end_step(self, cheap_bytes: int) -> None:
        """Count it when it was a large one, from the level before; what falls begins anew."""
        least = max(_STEP_BYTES, int(self.level_bytes * _STEP))
        if not self.level_bytes or cheap_bytes < self.level_bytes - least // 2:
            self.level_bytes, self.steps = cheap_bytes, 0
        elif cheap_bytes >= self.level_bytes + least:
            self.level_bytes, self.steps = cheap_bytes, self.steps + 1

    def asked(self, ages_s: Iterable[float], now: float) -> None:
        """Take note of the requests under way: one that came when it began to grow is what it grows for.

        One that was there before is a stream, which is answered all the time.
        """
        ages_s, grows_s = list(ages_s), now - self.flat_at
        self.streams = any(age_s > grows_s + _BEFORE_S for age_s in ages_s)
        least = max(_LOADS_S, grows_s - _APART_S * 2)
        is_one = any(least <= age_s <= grows_s + _BEFORE_S for age_s in ages_s)
        self.loads.append(self.rises[-1] and is_one and grows_s <= LOADING_S)

    def grows_by_requests(self, now: float) -> bool:
        """Tell whether it has grown and answered requests, and not for one that has been under way meanwhile.

        What has grown for long does so whatever it answers.
        """
        answers = self.streams or (len(self.answered) == LOOKS and self.answered[-1] > self.answered[0])
        return now - self.flat_at > LOADING_S or (answers and not any(self.loads))

    def must_be_walked(self, cheap_bytes: int, limit_bytes: int, now: float) -> bool:
        """Tell whether a walk can find news: that it is above the limit or, if that is known, that it still grows."""
        grown = max(0, cheap_bytes - self.cheap_bytes)
        if now - self.walked_at >= _WALKED_S:
            return True
        if self.above >= LOOKS and not self.grows:
            return grown > self.own_bytes * (_GROWS - 1)
        return self.own_bytes + grown > limit_bytes

    def is_due_as_fresh(self, now: float) -> bool:
        """Tell whether it is just now what a new worker is; while it grows it is not yet, and later it is old."""
        age_s = self.age_s(now)
        if self.fresh_bytes is not None or not FRESH_S <= age_s < _OLD_S:
            return False
        return not self.grows or age_s >= _OLD_S - LOOKS  # of one that leaks slowly it is the best that can be known

    def note(self, own_bytes: int, cheap_bytes: int, now: float) -> None:
        """Take note of a walk."""
        if now - self.walked_at >= _APART_S:
            self.has_gained = own_bytes > self.own_bytes * _GROWS
        self.own_bytes, self.cheap_bytes, self.walked_at = own_bytes, cheap_bytes, now

    def leaks(self, now: float) -> bool:
        """Tell whether it goes on growing though it is not new any more, and has grown by a good part already.

        At most looks of the last ones, or in steps: what a few requests need for a moment comes at once, and goes.
        """
        if self.steps >= _LEAK_STEPS and self.age_s(now) >= FRESH_S + LOOKS:
            return True
        has_grown = self.born_cheap_bytes is None or self.last[-1] > self.born_cheap_bytes * LARGER
        is_steady = sum(self.rises) >= _LEAK_RISES and self.grows_by_requests(now)
        return self.grows and has_grown and is_steady and self.age_s(now) >= FRESH_S + LOOKS

    def is_back(self, now: float) -> bool:
        """Tell whether it is soon about as large as the one in whose place it has come; later it may leak slowly."""
        if self.replaced_bytes is None or not FRESH_S <= self.age_s(now) <= SOON_S:
            return False
        return self.own_bytes * LARGER >= self.replaced_bytes

    def age_s(self, now: float) -> float:
        """Return for how long it has been ready."""
        return now - self.ready.since
