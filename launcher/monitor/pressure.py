"""Does the pool need almost all the memory there is?

What the group cannot give back is held against its limit, not what it uses: a group may stand at its limit by page
cache alone, and be in no danger. At the pace of a leak nine tenths may be too late, so the pace is looked at, too.
Recycling a worker that has grown comes first; where that is no use there are fewer workers, before the kernel kills.
The same is done for more than `--memory` allows, and for a pool that stands still for want of memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from launcher.limits.room import Room
from launcher.limits.stalls import Stalls
from launcher.monitor.allowance import Excess
from launcher.monitor.marks import Level, Marks, marks_of
from launcher.monitor.pace import Pace
from launcher.monitor.stalled import Stalled
from launcher.monitor.watched import LOOKS, Relief
from launcher.monitor.yielding import CALM_LATE_S, LATE_S, Yielded, Yielding
from launcher.units import human_bytes

KILL_S = 3.0  # to the limit: a worker that is asked to leave needs a second or two for it
AGAIN_S = 3600.0  # what lasts, or comes again and again, is said again
_WELL_BELOW = 0.95  # of the budget: it is said anew when it comes again
_LOADED = 0.75  # of the limit: what loads below it may be done by then, and is no reason to serve with less
_SLOW_S = 5.0  # a recycle that is under way for longer may end too late: requests may keep the old worker for long


class Reliever(Protocol):
    """Recycles a worker that has grown, as `launcher.monitor.watch.Watch` does. boots: one does not serve yet."""

    @property
    def boots(self) -> bool:
        """Whether memory is taken that may be given back in a moment."""

    def relieve(self, left_s: float, *, is_short: bool) -> Relief:
        """Do what can be done."""


class Pressure:
    """Says so, has the largest worker recycled, or the pool made smaller. `look` is to be called about once a second.

    room, excess: what was found last. unshared: as `Sharing.look`; what one worker has lost the next one may lose at
    once: that is foreseen. allowance: as `Allowance.look`, in that room. stalls: what was read of them last.
    budget_bytes: what may be in use for good; 0: nothing is known of that.
    """

    def __init__(
        self,
        read: Callable[[], Room | None],
        watch: Reliever,
        yielding: Yielding,
        warn: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go by what `read` returns; None: nothing is known."""
        self._read, self._watch, self._yielding, self._warn, self._clock = read, watch, yielding, warn, clock
        self.room: Room | None = None
        self.excess: Excess | None = None
        self.unshared: Callable[[int | None], int | None] = lambda _: None
        self.allowance: Callable[[Room | None], Excess | None] = lambda _: None
        self.stalls: Callable[[], Stalls | None] = lambda: None
        self.budget_bytes: Callable[[], int] = lambda: 0
        self._pace, self._stalled = Pace(), Stalled()
        self._looks = self._foreseen = self._blind = 0
        self._is_urgent = False
        self._said_at: dict[str, float] = {}
        self._source = ""

    def look(self) -> None:
        """Read, and do what can be done now."""
        room = self.room = self._read()
        coming = self.unshared(None if room is None else room.usage.anon_bytes)
        excess = self.excess = self.allowance(room)
        stalls = self.stalls()
        stalled = self._stalled.look(stalls, self._clock())
        is_known = room is not None and bool(room.limit_bytes)
        if room is None or not is_known:
            self._forget()
        elif self._look_at_group(room, coming) and room.is_limited:
            return
        if excess is not None and excess.is_due:
            self._act_on_excess(excess)
        elif stalls is not None and stalled and room is not None and room.is_limited and not self._watch.boots:
            self._act_on_stalls(stalls, stalled)
        elif not self._looks and not self._pace.is_hasty:
            self._take_back(room if is_known else None, coming or 0)

    def facts(self) -> dict[str, Any]:
        """Return what `status` shows of it."""
        known: dict[str, Any] = {} if self.room is None else {"needed_bytes": self.room.usage.needed_bytes}
        if (excess := self.excess) is not None:
            known |= {"pool_bytes": excess.used_bytes, "over_budget": excess.looks >= LOOKS}
        pressed = self._is_urgent or self._looks >= LOOKS
        return {**known, "pressed": pressed, "given_up": self._yielding.given_up()}

    def _forget(self) -> None:
        """What was read before tells nothing of how it goes on from here."""
        self._pace.forget()
        self._looks = 0
        self._is_urgent = False
        self._blind += 1
        if self._source and self._blind >= LOOKS:
            self._yielding.blind()

    def _look_at_group(self, room: Room, coming: int | None) -> bool:
        """Do what the group needs; tell whether it needs anything."""
        self._blind = 0
        if (source := room.limit_source) != self._source:  # another group has least left now: that is no growth
            self._pace.forget()
            self._source = source
        was_urgent, marks = self._is_urgent, marks_of(room.limit_bytes, self.budget_bytes())
        self._count(room, marks)
        is_bounded = self._is_bounded(room, coming or 0, marks)
        is_sudden = self._is_urgent and not was_urgent and not self._watch.boots  # who boots may be done in a moment
        if is_sudden or (self._looks and self._looks % LOOKS == 0):
            self._say(room, self._act(room, is_bounded=is_bounded, is_short=True))
        elif self._pace.is_hasty:
            self._yielding.blind()
            self._act(room, is_bounded=is_bounded, is_short=False)
        else:
            return False
        return True

    def _count(self, room: Room, marks: Marks) -> None:
        needed = room.usage.needed_bytes
        self._pace.look(self._clock(), needed, room.limit_bytes)
        self._looks = self._looks + 1 if needed > marks.pressed else 0
        self._is_urgent = needed > marks.urgent
        if needed <= marks.again:
            self._is_over("launcher.memory_pressed", "launcher.memory_exhausted")

    def _is_bounded(self, room: Room, coming_bytes: int, marks: Marks) -> bool:
        """Tell whether the pace is that of un-sharing, which will end below the limit: it is seen to that it does."""
        self._foreseen = LOOKS if coming_bytes else max(0, self._foreseen - 1)
        then = room.usage.needed_bytes + coming_bytes
        if coming_bytes and then > marks.urgent and room.is_limited:
            self._yielding.shrink(_foreseen(room, coming_bytes), then - marks.pressed, late_s=LATE_S)
        return bool(self._foreseen) and then <= marks.urgent

    def _act(self, room: Room, *, is_bounded: bool, is_short: bool) -> Yielded:
        """Do something, and return what, or why nothing.

        is_short: little is left, however it goes on; else the limit is seconds away.
        """
        left_s = self._pace.left_s
        is_killing = self._pace.is_hasty and left_s <= KILL_S and not is_bounded
        relief = self._watch.relieve(left_s if self._pace.is_hasty else math.inf, is_short=is_short)
        if relief.is_passing and room.usage.needed_bytes <= room.limit_bytes * _LOADED:
            is_killing = False
        is_late = relief.for_s > _SLOW_S and (is_killing or self._is_urgent)
        is_needless = (relief.is_enough and not is_late) or not (is_short or is_killing)
        # The whole machine's: what others take there is no reason to serve with less.
        return Yielded(relief.because) if is_needless or not room.is_limited else self._shrink(_short(room), relief)

    def _shrink(self, short: str, relief: Relief) -> Yielded:
        late_s = LATE_S if self._is_urgent or self._pace.is_hasty else CALM_LATE_S
        yielded = self._yielding.shrink(f"{short}: {relief.because}", late_s=late_s)
        return Yielded(f"{relief.because}; {yielded.because}", is_last=yielded.is_last)

    def _act_on_excess(self, excess: Excess) -> None:
        used, budget = human_bytes(excess.used_bytes or 0), human_bytes(excess.budget_bytes)
        because = self._relieve_calmly(f"the pool has {used}, and --memory allows it {budget}")
        if self._is_news("launcher.budget_exceeded"):
            facts = {"used_bytes": excess.used_bytes, "budget_bytes": excess.budget_bytes}
            self._warn("launcher.budget_exceeded", because=because, **facts)

    def _act_on_stalls(self, stalls: Stalls, short: str) -> None:
        self._stalled.done(stalls, self._clock())
        because = self._relieve_calmly(short)
        if self._is_news("launcher.memory_stalled"):
            facts = {"some_avg10": stalls.some_avg10, "full_avg10": stalls.full_avg10, "source": stalls.source}
            self._warn("launcher.memory_stalled", because=because, **facts)

    def _relieve_calmly(self, short: str) -> str:
        """Do something, and return why and what; nobody is killed for it, so that a recycle may take its time."""
        relief = self._watch.relieve(math.inf, is_short=True)
        is_enough = relief.is_enough and relief.for_s <= CALM_LATE_S
        return f"{short}: {relief.because if is_enough else self._shrink(short, relief).because}"

    def _take_back(self, room: Room | None, coming_bytes: int) -> None:
        """Let one be taken back where there is room for it; what is not known at the moment is no level."""
        levels, excess = [], self.excess
        if room is not None:
            marks = marks_of(room.limit_bytes, self.budget_bytes())
            needed = room.usage.needed_bytes + coming_bytes
            levels.append(Level(room.limit_source, needed, room.limit_bytes, marks.again))
        if excess is not None and excess.used_bytes is not None:
            if excess.used_bytes < excess.budget_bytes * _WELL_BELOW:
                self._is_over("launcher.budget_exceeded")
            used = excess.used_bytes + coming_bytes
            levels.append(Level("--memory", used, excess.budget_bytes, excess.budget_bytes))
        if levels and (room is not None or not self._source):
            self._yielding.look(levels)

    def _say(self, room: Room, done: Yielded) -> None:
        """Say it once, until there was room again, and once an hour."""
        if done.is_last and self._is_news("launcher.memory_exhausted"):
            self._said_at["launcher.memory_pressed"] = self._clock()
            because = f"{_short(room)}, and there is nothing left to do: {done.because}"
            self._warn("launcher.memory_exhausted", because=because, **_facts(room))
        elif self._is_news("launcher.memory_pressed"):
            self._warn("launcher.memory_pressed", because=f"{_short(room)}: {done.because}", **_facts(room))

    def _is_over(self, *events: str) -> None:
        for event in events:
            self._said_at.pop(event, None)

    def _is_news(self, event: str) -> bool:
        now = self._clock()
        if now - self._said_at.get(event, -math.inf) < AGAIN_S:
            return False
        self._said_at[event] = now
        return True


def _short(room: Room) -> str:
    return f"{human_bytes(room.usage.needed_bytes)} of {human_bytes(room.limit_bytes)} cannot be given back"


def _foreseen(room: Room, coming_bytes: int) -> str:
    more = f"{human_bytes(coming_bytes)} more will be when all workers have un-shared what one has"
    return f"{_short(room)}, and {more}"


def _facts(room: Room) -> dict[str, object]:
    usage = room.usage
    return {
        "needed_bytes": usage.needed_bytes,
        "anon_bytes": usage.anon_bytes,
        "shmem_bytes": usage.shmem_bytes,
        "kernel_bytes": usage.kernel_bytes,
        "limit_bytes": room.limit_bytes,
        "source": usage.source,
    }
