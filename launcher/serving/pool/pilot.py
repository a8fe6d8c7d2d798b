"""How many workers does the pool turn out to have room for?

The first worker serves at once and is measured; the pool grows in batches, each as large as what is there, and each
looked at before the next. After traffic all are measured again, and the number is what then fits. Whoever says another
number has the last word. Stepped by the loop; a step reads one process, since the kernel walks its pages (12 ms for
250 MB, evidence B4).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.budget import Measured, fitting
from launcher.growth import Growth
from launcher.limits.footprint import Footprint
from launcher.log import log
from launcher.remembered import keep
from launcher.serving.pool.members import Member
from launcher.serving.pool.sizes import allowed_bytes, as_measured, line

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool

# Of a worker. What it is measured at before is worth little: 3 to 33 % less than after 200 requests (evidence A3).
WARM_REQUESTS = 50
# Since the oldest was started, since the youngest became ready: with more, a small pool would be there too late.
_AGE_S, _SETTLED_S = 0.4, 0.25
_PAUSE_S = 0.01  # between two readings: signals are obeyed meanwhile
_BLIND = 3  # readings of living workers that told nothing, after which none is expected to


class Milestone(IntEnum):
    """What is waited for before all are measured again."""

    READY = 0
    WARM = 1  # one has had requests
    ALL_WARM = 2
    DONE = 3


@dataclass(frozen=True, slots=True)
class Readers:
    """What there is to be seen.

    footprint: of a process; None: it is gone. others: the pool's processes that are no workers.
    shmem_bytes: what lies in shared memory and counts against the limit.
    """

    footprint: Callable[[int], Footprint | None]
    others: Callable[[], Iterable[int]]
    shmem_bytes: Callable[[], int]


@dataclass(slots=True)
class Look:
    """One measurement under way. left: pids that are still to be read."""

    workers: list[Member]
    left: list[int]
    seen: dict[int, Footprint] = field(default_factory=dict)


def _utc() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(slots=True)
class Pilot:
    """The one who knows how many fit.

    measured: what it goes by. dismissed: somebody else has said a number, and from then on it is only measured.
    """

    growth: Growth
    readers: Readers
    today: Callable[[], dt.datetime] = _utc
    measured: Measured | None = None
    milestone: Milestone = Milestone.READY
    dismissed: bool = False
    _first: bool = False  # nobody has measured this application before: what is seen at first decides
    _batch: bool = False  # workers were added, and nobody has looked at them yet
    _before: int = 1  # how many there were before them
    _most: int = 0
    _look: Look | None = None
    _generation: int = 1
    _blind: int = 0
    _kept: Measured | None = None  # what the next start would find
    _unkept: bool = False  # said already that nothing is remembered

    def __post_init__(self) -> None:
        """Begin with what was remembered, if anything was."""
        self.measured = self._kept = self.growth.measured
        self._first, self._most = self.growth.is_pilot, self.growth.most_workers

    def step(self, pool: Pool) -> None:
        """Do what can be done now."""
        if pool.generation != self._generation:  # after a reload it is another application
            self._generation = pool.generation
            self._first = self._first and (self._batch or self.milestone is Milestone.READY)  # it has no size to keep
            self.measured, self.milestone, self._batch = None, Milestone.READY, False
            self._most = self.growth.most_workers
        if not self._is_due(pool):
            self._look = None
            return
        if self._look is None:
            workers = pool.members.serving
            self._look = Look(workers, [*self.readers.others(), *(member.pid for member in workers)])
        self._read(pool, self._look)

    def due_in_s(self, pool: Pool) -> float:
        """Return in how many seconds there is something to do; for traffic it is looked now and then."""
        if self._look is not None:
            return _PAUSE_S
        if not _calm(pool) or (self.milestone is not Milestone.READY and not self._batch):
            return float("inf")
        return max(_PAUSE_S, _settled_at(pool) - pool.now)

    def dismiss(self) -> None:
        """Somebody has said how many there are to be."""
        self.dismissed = True

    def killed_for_memory(self, pool: Pool) -> None:
        """The kernel has killed a worker. Until all were measured after traffic that is the answer to any sum."""
        if self.dismissed or (self.milestone is Milestone.DONE and not self._batch) or pool.wanted == 1:
            return
        before = pool.wanted
        self._most = self._before if self._batch else before // 2
        self._batch = False
        pool.resize(self._most)
        because = "the kernel killed a worker for memory when there were more"
        pool.voice.warn("launcher.pool_sized", wanted=pool.wanted, before=before, because=because)

    def _is_due(self, pool: Pool) -> bool:
        if not _calm(pool) or pool.now < _settled_at(pool):
            return False
        requests = [member.slot.requests for member in pool.members.serving]
        match self.milestone:
            case _ if self._batch:
                return True
            case Milestone.READY:
                return True
            case Milestone.WARM:
                return max(requests) >= WARM_REQUESTS
            case Milestone.ALL_WARM:
                # The kernel may give one worker nearly all: then that one has to have had as many as all would need.
                return min(requests) >= WARM_REQUESTS or max(requests) >= WARM_REQUESTS * len(requests)
            case Milestone.DONE:
                return False

    def _read(self, pool: Pool, look: Look) -> None:
        """Read the next process; after the last one, draw the conclusions."""
        pid = look.left.pop(0)
        if (footprint := self.readers.footprint(pid)) is not None:
            look.seen[pid] = footprint
        elif pool.members.find(pid) is not None:  # dead and not reaped yet, or not to be seen at all
            self._look = None
            self._be_blind(pool)
            return
        if not look.left:
            self._look = None
            self._judge(pool, look)

    def _be_blind(self, pool: Pool) -> None:
        self._blind += 1
        if self._blind < _BLIND:
            return
        self.milestone, self._batch = Milestone.DONE, False
        if self._first and not self.dismissed and self.measured is None:
            pool.resize(self.growth.guessed_workers)
            because = "the memory of the workers cannot be read, so that the guess holds"
            pool.voice.warn("launcher.pool_sized", wanted=pool.wanted, before=1, because=because)

    def _judge(self, pool: Pool, look: Look) -> None:
        """Draw the conclusions from a measurement, and take the next milestone into view."""
        self._blind = 0
        found = self._found(look)
        before, warm = self.measured, not self._batch and self.milestone > Milestone.READY
        held = before is not None and found.worker_bytes <= allowed_bytes(before)
        largest = max(look.workers, key=lambda member: look.seen[member.pid].own_bytes)
        pool.voice.say(
            "launcher.worker_measured",
            pid=largest.pid,
            worker_bytes=found.worker_bytes,
            peak_bytes=found.peak_bytes,
            shared_bytes=found.shared_bytes,
            requests=largest.slot.requests,
            workers=len(look.workers),
            is_exact=all(one.is_exact for one in look.seen.values()),
            provisional=found.provisional,
        )
        if before is not None and held and not warm:  # as foreseen, by what is worth more than a look before traffic
            found = dataclasses.replace(before, shmem_bytes=found.shmem_bytes)
        self.measured = found
        self._size(pool, found, surprised=before is not None and not held)
        if not self._batch:
            self._remember(found)

    def _found(self, look: Look) -> Measured:
        workers = [look.seen[member.pid] for member in look.workers]
        pids = {member.pid for member in look.workers}
        others = [footprint for pid, footprint in look.seen.items() if pid not in pids]
        provisional = self.milestone < Milestone.ALL_WARM
        found = as_measured(workers, others, self.readers.shmem_bytes(), provisional=provisional)
        if self.measured is None:
            return found
        return dataclasses.replace(found, peak_bytes=max(found.peak_bytes, self.measured.peak_bytes))

    def _size(self, pool: Pool, found: Measured, *, surprised: bool) -> None:
        """Have as many as fit. Before traffic there are made more only of what nobody has measured before."""
        growth, first_sight = self.growth, self.milestone is Milestone.READY and not self._batch
        fits = fitting(found, growth.usable_bytes, preload=growth.preload)
        wanted = min(self._most, max(1, fits))
        if first_sight and not self._first:
            wanted = min(wanted, pool.wanted)
        if not fits:
            pool.voice.warn("launcher.budget_doubtful", because=f"not one worker fits: {line(growth, found)}")
        if not self._batch:
            self.milestone = Milestone(min(self.milestone + 1, Milestone.DONE))
        self._batch = False
        if self.dismissed or (wanted == pool.wanted and not first_sight):
            return
        before = self._before = pool.wanted
        pool.resize(min(wanted, before * 2))
        self._batch = pool.wanted > before
        because = _because(fits, self._most, surprised=surprised)
        pool.voice.say(
            "launcher.pool_sized",
            wanted=pool.wanted,
            before=before,
            fits=fits,
            because=because,
            provisional=found.provisional,
            sum=line(growth, found),
        )

    def _remember(self, found: Measured) -> None:
        kept = self._kept
        worth_less = kept is not None and found.provisional and not kept.provisional
        if not self.growth.remember or (worth_less and kept and found.worker_bytes <= allowed_bytes(kept)):
            return
        self._kept = found
        try:
            keep(Path(self.growth.remember), self.growth.key, found, self.today())
        except OSError as error:
            if not self._unkept:
                self._unkept = True
                log.info("launcher.measurement_not_kept", path=self.growth.remember, because=str(error))


def _because(fits: int, most: int, *, surprised: bool) -> str:
    larger = "the workers have become larger than was foreseen: " if surprised else ""
    if fits >= most:
        return f"{larger}{fits} fit in memory, and {most} {'is' if most == 1 else 'are'} allowed"
    return f"{larger}{fits or 'not one'} {'fits' if fits <= 1 else 'fit'} in memory, where {most} would be allowed"


def _calm(pool: Pool) -> bool:
    """Tell whether exactly the wanted workers are there, serve, and are to stay."""
    serving = len(pool.members.serving)
    return pool.stopping is None and not pool.rolling.busy and serving == pool.wanted == len(pool.members)


def _settled_at(pool: Pool) -> float:
    """Return when all have had a moment for what they do after they are ready. Monotonic."""
    workers = pool.members.serving
    oldest = min(member.started for member in workers)
    youngest = max(member.slot.stage_since for member in workers)
    return max(oldest + _AGE_S, youngest + _SETTLED_S)
