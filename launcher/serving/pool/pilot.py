"""How many workers does the pool turn out to have room for?

The first worker serves at once and is measured; the pool grows in batches, each as large as what is there, and each
looked at before the next. After traffic all are measured again, and the number is what then fits. Whoever says another
number has the last word. Stepped by the loop; a step reads one process, since the kernel walks its pages (12 ms for
250 MB, evidence B4).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.budget import Measured, fitting
from launcher.errors import ExitCode
from launcher.growth import Growth
from launcher.log import log
from launcher.remembered import keep
from launcher.serving.pool.looks import Look, Milestone, Readers, calm, settled_at
from launcher.serving.pool.shmem import Shmem
from launcher.serving.pool.sizes import allowed_bytes, as_measured, line
from launcher.serving.pool.wanted import Answer, no_answer
from launcher.units import human_bytes

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool

_PAUSE_S = 0.01  # between two readings: signals are obeyed meanwhile
_BLIND = 3  # readings of living workers that told nothing, after which none is expected to


def _utc() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(slots=True)
class Pilot:
    """The one who knows how many fit.

    measured: what it goes by. dismissed: somebody else has said a number, and from then on it is only measured.
    most: so many there may be at present; less than `growth` says after a kill for memory.
    """

    growth: Growth
    readers: Readers
    today: Callable[[], dt.datetime] = _utc
    measured: Measured | None = None
    milestone: Milestone = Milestone.READY
    dismissed: bool = False
    most: int = 0
    _first: bool = False  # nobody has measured this application before: what is seen at first decides
    _batch: bool = False  # workers were added, and nobody has looked at them yet
    _before: int = 1  # how many there were before them
    _look: Look | None = None
    _generation: int = 1
    _blind: int = 0
    _kept: Measured | None = None  # what the next start would find
    _unkept: bool = False  # said already that nothing is remembered
    _asked: list[tuple[str, Answer]] = field(default_factory=list)  # why all are to be measured again, and who asks
    _shmem: Shmem = field(default_factory=Shmem)

    def __post_init__(self) -> None:
        """Begin with what was remembered, if anything was."""
        self.measured = self._kept = self.growth.measured
        self._first, self.most = self.growth.is_pilot, self.growth.most_workers

    def step(self, pool: Pool) -> None:
        """Do what can be done now."""
        if pool.generation != self._generation:  # after a reload it is another application
            self._generation = pool.generation
            self._first = self._first and (self._batch or self.milestone is Milestone.READY)  # it has no size to keep
            self.measured, self.milestone, self._batch = None, Milestone.READY, False
            self._shmem = Shmem()
            self.growth = self._below_the_limit_of_now()
            self.most = self.growth.most_workers
        if not self._is_due(pool):
            self._look = None
            self._look_at_shmem(pool)
            return
        if self._look is None:
            workers = pool.members.serving
            self._look = Look(workers, [*self.readers.others(), *(member.pid for member in workers)])
        self._read(pool, self._look)

    def due_in_s(self, pool: Pool) -> float:
        """Return in how many seconds there is something to do; for traffic it is looked now and then."""
        if self._look is not None:
            return _PAUSE_S
        if not calm(pool) or (self.milestone is not Milestone.READY and not self._batch):
            return float("inf")
        return max(_PAUSE_S, settled_at(pool) - pool.now)

    def dismiss(self) -> None:
        """Somebody has said how many there are to be."""
        self.dismissed = True

    def remeasure(self, pool: Pool, because: str, answer: Answer) -> None:
        """Measure all again, and have as many as then fit; `answer` is called when that is known."""
        if self.dismissed or pool.stopping is not None:
            answer(ExitCode.USAGE, "the number of workers is not the pool's to find")
        else:
            self._asked.append((because, answer))

    @property
    def fits(self) -> int:
        """How many there may be by the last sum; before there is one, how many may be at all."""
        return self.most if self.measured is None else min(self.most, max(1, self._fitting(self.measured)))

    def _fitting(self, found: Measured) -> int:
        return fitting(found, self.growth.usable_bytes, preload=self.growth.preload)

    def has_room_again(self, pool: Pool) -> None:
        """All that were given up are taken back: go on where that has ended the growth."""
        if self.fits > pool.wanted:
            self._asked.append(("there is room again", no_answer))

    def drop(self) -> None:
        """Measure no more: the pool stops."""
        self._end_asks(ExitCode.BUG, "the pool stops")

    def _end_asks(self, code: ExitCode, because: str) -> None:
        asked, self._asked = self._asked, []
        for _, answer in asked:
            answer(code, because)

    def _below_the_limit_of_now(self) -> Growth:
        """A reload begins anew."""
        supply, growth = self.readers.supply(), self.growth
        if supply is None or supply.memory_is_limited is not growth.is_limited:
            return growth
        return growth.with_limit(supply.memory_bytes, supply.memory_source)

    def _look_at_shmem(self, pool: Pool) -> None:
        found, serving = self.measured, len(pool.members.serving)
        if found is None or self.milestone is Milestone.READY or not calm(pool) or not self._shmem.is_due(pool.now):
            return
        if (seen := self.readers.shmem_bytes()) is None:
            return
        if (now := self._shmem.news(pool.now, seen, serving, found.shmem_bytes)) is not None:
            self.measured = dataclasses.replace(found, shmem_bytes=now)
            self._size(pool, self.measured, f"{human_bytes(now)} lie in shared memory (/dev/shm, tmpfs): ")
            if pool.wanted < serving:
                self._shmem.shrunk(pool.now)

    def killed_for_memory(self, pool: Pool) -> None:
        """The kernel has killed a worker. Until all were measured after traffic that is the answer to any sum."""
        if self.dismissed or (self.milestone is Milestone.DONE and not self._batch) or pool.wanted == 1:
            return
        before = pool.wanted
        self.most = self._before if self._batch and self._before < before else before // 2
        self._batch = False
        pool.resize(self.most)
        because = "the kernel killed a worker for memory when there were more"
        pool.voice.warn("launcher.pool_sized", wanted=pool.wanted, before=before, because=because)

    def _is_due(self, pool: Pool) -> bool:
        if not calm(pool) or pool.now < settled_at(pool):
            return False
        requests = [member.slot.requests for member in pool.members.serving]
        return self._batch or bool(self._asked) or self.milestone.is_reached(requests)

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
        self._end_asks(ExitCode.USAGE, "the memory of the workers cannot be read")
        if self._first and not self.dismissed and self.measured is None:
            pool.resize(self.growth.guessed_workers)
            because = "the memory of the workers cannot be read, so that the guess holds"
            pool.voice.warn("launcher.pool_sized", wanted=pool.wanted, before=1, because=because)

    def _judge(self, pool: Pool, look: Look) -> None:
        """Draw the conclusions from a measurement, and take the next milestone into view."""
        self._blind = 0
        found = self._found(look)
        asked, self._asked = self._asked, []
        before = self.measured
        warm = bool(asked) or (not self._batch and self.milestone > Milestone.READY)
        held = before is not None and found.worker_bytes <= allowed_bytes(before)
        self._say(pool, look, found)
        is_as_before = before is not None and held and not warm  # by what is worth more than a look before traffic
        self._shmem.measured(look.parts()[0], is_base=not is_as_before)
        if before is not None and is_as_before:
            there = self._shmem.without_workers(found.shmem_bytes, len(look.workers))
            found = dataclasses.replace(before, shmem_bytes=there)
        self.measured = found
        surprised = before is not None and not held
        why = "the workers have become larger than was foreseen: " if surprised else ""
        why = "".join(f"{because}: " for because, _ in asked[:1]) or why
        first_to_leave = [member.pid for member in look.largest_first] if surprised else []
        is_first_sight = self.milestone is Milestone.READY and not self._batch
        if is_first_sight or not (self._batch or asked):
            self.milestone = self.milestone.next
        self._size(pool, found, why, first_to_leave, is_first_sight=is_first_sight)
        if not self._batch:
            self._remember(found)
        for _, answer in asked:
            answer(ExitCode.OK, "")

    def _say(self, pool: Pool, look: Look, found: Measured) -> None:
        largest = look.largest_first[0]
        pool.voice.say(
            "launcher.worker_measured",
            pid=largest.pid,
            worker_bytes=found.worker_bytes,
            peak_bytes=found.peak_bytes,
            shared_bytes=found.shared_bytes,
            files_bytes=found.files_bytes,
            shmem_bytes=found.shmem_bytes,
            monitor_bytes=found.monitor_bytes,
            requests=largest.slot.requests,
            workers=len(look.workers),
            is_exact=all(one.is_exact for one in look.seen.values()),
            provisional=found.provisional,
        )

    def _found(self, look: Look) -> Measured:
        workers, others = look.parts()
        provisional = self.milestone < Milestone.ALL_WARM
        shmem, monitor = self.readers.shmem_bytes(), self.readers.monitor()
        found = as_measured(workers, others, shmem or 0, provisional=provisional, monitor=monitor)
        if self.measured is None:
            return found
        return dataclasses.replace(found, peak_bytes=max(found.peak_bytes, self.measured.peak_bytes))

    def _size(
        self,
        pool: Pool,
        found: Measured,
        why: str,
        first_to_leave: Sequence[int] = (),
        *,
        is_first_sight: bool = False,
    ) -> None:
        """Have as many as fit; no more while some are given up, nor before traffic of what was measured before."""
        growth = self.growth
        fits = self._fitting(found)
        wanted = min(self.most, max(1, fits))
        if pool.size.given_up or (is_first_sight and not self._first):
            wanted = min(wanted, pool.wanted)
        if not fits:
            pool.voice.warn("launcher.budget_doubtful", because=f"not one worker fits: {line(growth, found)}")
        self._batch = False
        if self.dismissed or (wanted == pool.wanted and not is_first_sight):
            return
        before = self._before = pool.wanted
        pool.resize(min(wanted, before * 2), first_to_leave)
        self._batch = pool.wanted > before
        pool.voice.say(
            "launcher.pool_sized",
            wanted=pool.wanted,
            before=before,
            fits=fits,
            because=why + _because(fits, self.most),
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


def _because(fits: int, most: int) -> str:
    if fits >= most:
        return f"{fits} fit in memory, and {most} {'is' if most == 1 else 'are'} allowed"
    return f"{fits or 'not one'} {'fits' if fits <= 1 else 'fit'} in memory, where {most} would be allowed"
