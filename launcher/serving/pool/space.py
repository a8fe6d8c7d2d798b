"""Is there room for more beside what is there?

A replacement is started before the old worker goes, when both fit; a reload with `--preload` holds the application
twice; whoever scales up adds for good. What is left is read at that moment: the sum was made from what was known then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.budget.values import GROWTH_BYTES, GROWTH_DIVISOR
from launcher.limits.room import Room
from launcher.serving.pool.sizes import allowed_bytes
from launcher.units import human_bytes

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool


@dataclass(slots=True)
class Space:
    """Weighs what is wanted against what is left. Sizes in bytes.

    room: what there is now; None: nothing tells. own_bytes: what a process has for itself; None: it is gone.
    usable_bytes: the part of the limit that the pool may use for good; None: all of it.
    may_overcommit: somebody has allowed more than fits.
    """

    room: Callable[[], Room | None]
    own_bytes: Callable[[int], int | None]
    usable_bytes: int | None = None
    may_overcommit: bool = False
    _last: int = 0  # what a worker took when there was one

    def lacking_for_one(self, pool: Pool) -> str:
        """Return why one more worker does not fit for a while; empty: it does, as far as can be known."""
        coming = 1 + len(pool.members.booting)  # what those hold by now is little of what they will
        return self._lacking("another worker" if coming == 1 else f"{coming} workers", coming * self._one(pool))

    def lacking_for_copy(self, size: int) -> str:
        """Return why the application does not fit once more, while a reload holds it twice; empty: it does."""
        return self._lacking("a second copy of the application", size) if size else ""

    def lacking_for(self, pool: Pool, workers: int) -> str:
        """Return why a pool of so many does not fit for good; empty: it does, or may be too large."""
        more = workers - len(pool.members.serving)
        if self.may_overcommit or more <= 0:
            return ""
        what = f"{more} more worker{'s' if more > 1 else ''}"
        return self._lacking(what, more * self._one(pool), for_good=True)

    def _one(self, pool: Pool) -> int:
        """Return what a worker may come to take; 0 where that was never known."""
        if pool.pilot is not None and pool.pilot.measured is not None:
            return allowed_bytes(pool.pilot.measured)
        serving = pool.members.serving
        known = serving or ([] if self._last else list(pool.members))  # those that boot are better than nothing
        if known and (own := self.own_bytes(known[-1].pid)):  # the youngest: it is most like a new one
            self._last = own + max(own // GROWTH_DIVISOR, GROWTH_BYTES)
        return self._last

    def _lacking(self, what: str, size: int, *, for_good: bool = False) -> str:
        room = self.room()
        reserve = self._reserve(room) if room is not None and for_good else 0
        if room is None or room.free_bytes - reserve >= size:
            return ""
        left = human_bytes(max(0, room.free_bytes - reserve))
        limit = f"{human_bytes(room.limit_bytes)} ({room.limit_source})"
        beside = f", with {human_bytes(reserve)} left alone" if reserve else ""
        return f"{what} would take {human_bytes(size)}, and {left} of {limit} are left{beside}"

    def _reserve(self, room: Room) -> int:
        """Return how much of a limit is not to be used."""
        if self.usable_bytes is None or not room.is_limited:
            return 0
        return max(0, room.limit_bytes - self.usable_bytes)
