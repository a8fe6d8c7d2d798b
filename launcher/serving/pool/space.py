"""Is there room for more beside what is there?

A replacement is started before the old worker goes, when both fit; a reload with `--preload` holds the application
twice; whoever scales up adds for good. What is left is read at that moment: the sum was made from what was known then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.budget import Demand, Supply
from launcher.budget.regions import usable_bytes
from launcher.budget.values import GROWTH_BYTES, GROWTH_DIVISOR
from launcher.limits.room import Room
from launcher.serving.pool.sizes import allowed_bytes
from launcher.units import human_bytes

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool
    from launcher.serving.pool.members import Member

_KEPT_S = 1.0  # as long as the size of a worker holds: to walk its pages may take as much as a turn of the loop


@dataclass(slots=True)
class Space:
    """Weighs what is wanted against what is left. Sizes in bytes.

    room: what there is now; None: nothing tells. own_bytes: what a process has for itself; None: it is gone.
    supply: the limit of now, of which `memory` may be used for good, as `Demand` has it.
    may_overcommit: somebody has allowed more than fits.
    """

    room: Callable[[], Room | None]
    own_bytes: Callable[[int], int | None]
    supply: Callable[[], Supply] | None = None
    memory: float | int | None = None
    may_overcommit: bool = False
    _last: int = 0  # what a worker took when there was one
    _last_at: float = float("-inf")

    def lacking_for_one(self, pool: Pool) -> str:
        """Return why one more worker does not fit for a while; empty: it does, as far as can be known."""
        coming = 1 + len(pool.members.booting)  # what those hold by now is little of what they will
        return self._lacking("another worker" if coming == 1 else f"{coming} workers", coming * self._one(pool))

    def lacking_for_copy(self, size: int) -> str:
        """Return why the application does not fit once more, while a reload holds it twice; empty: it does."""
        return self._lacking("a second copy of the application", size)

    def lacking_for(self, pool: Pool, workers: int) -> str:
        """Return why a pool of so many does not fit for good; empty: it does, or may be too large."""
        more = workers - len(pool.members.active)
        if self.may_overcommit or more <= 0:
            return ""
        one = self._one(pool)
        coming = sum(max(0, one - self._own(member)) for member in pool.members.booting)
        going = sum(self._own(member) for member in pool.members if member.intent is not None)
        what = f"{more} more worker{'s' if more > 1 else ''}"
        return self._lacking(what, more * one, reserve=self._reserve(), soon=coming - going) or self._lacking_of_budget(
            pool, what, more * one + coming - going
        )

    def _lacking_of_budget(self, pool: Pool, what: str, size: int) -> str:
        """Return it where a machine is the limit, of which others have their part: what the pool itself has counts."""
        if self.memory is None or self.supply is None or (supply := self.supply()).memory_is_limited:
            return ""
        budget = usable_bytes(Demand(memory=self.memory), supply)
        held = sum(self.own_bytes(pid) or 0 for pid in (os.getpid(), *(member.pid for member in pool.members)))
        if (left := budget - held) >= size:
            return ""
        of = f"of {human_bytes(budget)} (--memory) are left"
        return f"{what} would take {human_bytes(size)}, and {human_bytes(max(0, left))} {of}"

    def _own(self, member: Member) -> int:
        return self.own_bytes(member.pid) or 0

    def _one(self, pool: Pool) -> int:
        """Return what a worker may come to take; 0 where that was never known."""
        if pool.pilot is not None and pool.pilot.measured is not None:
            return allowed_bytes(pool.pilot.measured)
        if pool.now - self._last_at < _KEPT_S:
            return self._last
        serving = pool.members.serving
        known = serving or ([] if self._last else list(pool.members))  # those that boot are better than nothing
        if known and (own := self._own(known[-1])):  # the youngest: it is most like a new one
            self._last, self._last_at = own + max(own // GROWTH_DIVISOR, GROWTH_BYTES), pool.now
        return self._last

    def _reserve(self) -> int:
        """Return how much of the limit is not to be used for good."""
        if self.supply is None or not (supply := self.supply()).memory_is_limited:
            return 0
        return supply.memory_bytes - usable_bytes(Demand(memory=self.memory), supply)

    def _lacking(self, what: str, size: int, *, reserve: int = 0, soon: int = 0) -> str:
        """Return it. soon: what will be taken before long, without it; negative: given back."""
        room = self.room() if size else None
        if room is None or (left := room.free_bytes - reserve - soon) >= size:
            return ""
        limit = f"{human_bytes(room.limit_bytes)} ({room.limit_source})"
        beside = f", with {human_bytes(reserve)} left alone" if reserve else ""
        return f"{what} would take {human_bytes(size)}, and {human_bytes(max(0, left))} of {limit} are left{beside}"
