"""When does the pilot look, and at what?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from launcher.budget import Supply
from launcher.limits.footprint import Footprint
from launcher.serving.pool.members import Member

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool

# Of a worker. What it is measured at before is worth little: 3 to 33 % less than after 200 requests (evidence A3).
WARM_REQUESTS = 50
# Since the oldest was started, since the youngest became ready: with more, a small pool would be there too late.
_AGE_S, _SETTLED_S = 0.4, 0.25


class Milestone(IntEnum):
    """What is waited for before all are measured again."""

    READY = 0
    WARM = 1  # one has had requests
    ALL_WARM = 2
    DONE = 3

    def is_reached(self, requests: Sequence[int]) -> bool:
        """Tell whether workers that have answered so many are what was waited for."""
        match self:
            case Milestone.READY:
                return True
            case Milestone.WARM:
                return max(requests) >= WARM_REQUESTS
            case Milestone.ALL_WARM:
                # The kernel may give one worker nearly all: then that one has to have had as many as all would need.
                return min(requests) >= WARM_REQUESTS or max(requests) >= WARM_REQUESTS * len(requests)
            case Milestone.DONE:
                return False

    @property
    def next(self) -> Milestone:
        """What is waited for then."""
        return Milestone(min(self + 1, Milestone.DONE))


@dataclass(frozen=True, slots=True)
class Readers:
    """What there is to be seen.

    footprint: of a process; None: it is gone. others: the pool's processes that are no workers.
    shmem_bytes: what lies in shared memory and counts against the limit; None: that cannot be read now.
    supply: the limit as it is now; None: nothing tells.
    monitor: of the monitor's process; None: there is none.
    """

    footprint: Callable[[int], Footprint | None]
    others: Callable[[], Iterable[int]]
    shmem_bytes: Callable[[], int | None]
    supply: Callable[[], Supply | None] = lambda: None
    monitor: Callable[[], Footprint | None] = lambda: None


@dataclass(slots=True)
class Look:
    """One measurement under way. left: pids that are still to be read."""

    workers: list[Member]
    left: list[int]
    seen: dict[int, Footprint] = field(default_factory=dict)

    @property
    def largest_first(self) -> list[Member]:
        """The workers; of equals the oldest first."""
        return sorted(self.workers, key=lambda member: -self.seen[member.pid].own_bytes)

    def parts(self) -> tuple[list[Footprint], list[Footprint]]:
        """Return what was seen of the workers, and of the others."""
        pids = {member.pid for member in self.workers}
        workers = [self.seen[member.pid] for member in self.workers]
        return workers, [footprint for pid, footprint in self.seen.items() if pid not in pids]


def calm(pool: Pool) -> bool:
    """Tell whether exactly the wanted workers are there, serve, and are to stay."""
    serving = len(pool.members.serving)
    return pool.stopping is None and not pool.rolling.busy and serving == pool.wanted == len(pool.members)


def settled_at(pool: Pool) -> float:
    """Return when all have had a moment for what they do after they are ready. Monotonic."""
    workers = pool.members.serving
    oldest = min(member.started for member in workers)
    youngest = max(member.slot.stage_since for member in workers)
    return max(oldest + _AGE_S, youngest + _SETTLED_S)
