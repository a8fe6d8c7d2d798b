"""How many workers are wanted?

As many as somebody said, or the pilot found room for; fewer while the kernel would kill otherwise, as the monitor sees
it. Those that were given up are taken back when there is room again, unless another number was said meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.errors import ExitCode
from launcher.scoreboard import SLOTS
from launcher.serving.pool.members import Intent, Member

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool

Answer = Callable[[int, str], None]  # exit code, reason

MOST_WORKERS = SLOTS // 2  # each has room for its replacement beside it


def no_answer(_code: int, _because: str) -> None:
    """Nobody waits for the outcome."""


@dataclass(slots=True)
class Wanted:
    """The number, and who waits for it.

    given_up: how many fewer there are for want of memory.
    first_to_leave: pids that go before the oldest does, when there are to be fewer.
    """

    number: int
    given_up: int = 0
    first_to_leave: list[int] = field(default_factory=list)
    _waiting: list[tuple[int, Answer]] = field(default_factory=list)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits until so many are ready."""
        return bool(self._waiting)

    def scale(self, pool: Pool, wanted: int, answer: Answer, *, is_restored: bool = False) -> None:
        """Have so many, at least one, as somebody wants it; more than there is room for are refused.

        is_restored: as many as there were a moment ago, so that nobody asks whether they fit.
        """
        wanted = min(max(1, wanted), MOST_WORKERS)
        if pool.stopping is not None:
            answer(ExitCode.BUG, "the pool stops")
            return
        is_more = wanted > self.number and not is_restored
        if is_more and pool.space is not None and (lacking := pool.space.lacking_for(pool, wanted)):
            pool.voice.warn("launcher.scale_refused", wanted=wanted, kept=self.number, because=lacking)
            answer(ExitCode.NO_WORKER_FITS, f"{lacking}: there are still {self.number}")
            return
        if pool.pilot is not None:
            pool.pilot.dismiss()
        self.given_up = 0
        if wanted != self.number:
            self.resize(pool, wanted)
            pool.voice.say("launcher.pool_resized", wanted=wanted)
        self._waiting.append((wanted, answer))

    def resize(self, pool: Pool, wanted: int) -> None:
        """Have so many, at least one."""
        wanted = min(max(1, wanted), MOST_WORKERS)
        if wanted != self.number:
            self.number = wanted
            pool.size_changed()
            pool.hands.resized(wanted)

    def shrink(self, pool: Pool, wanted: int, pid: int | None, because: str, answer: Answer) -> None:
        """Have fewer until there is room again; `pid` goes first."""
        if pool.stopping is not None or not 1 <= wanted < self.number:
            answer(ExitCode.USAGE, f"a pool of {self.number} cannot be made one of {wanted} for want of memory")
            return
        before = self.number
        self.given_up += before - wanted
        self.first_to_leave = [] if pid is None else [pid]
        pool.voice.warn("launcher.pool_shrunk", wanted=wanted, before=before, because=because)
        self._take(pool, wanted, answer)

    def grow_back(self, pool: Pool, because: str, answer: Answer) -> None:
        """Take one back of those that were given up."""
        if pool.pilot is not None and self.number >= pool.pilot.growth.most_workers:
            self.given_up = 0  # a reload has found the size anew meanwhile
        if pool.stopping is not None or not self.given_up:
            answer(ExitCode.USAGE, "no worker was given up for want of memory")
            return
        self.given_up -= 1
        before = self.number
        pool.voice.say("launcher.pool_grown_back", wanted=before + 1, before=before, because=because)
        self._take(pool, before + 1, answer)

    def _take(self, pool: Pool, wanted: int, answer: Answer) -> None:
        before = self.number
        if pool.pilot is not None:
            pool.pilot.most = max(1, pool.pilot.most + wanted - before) if wanted > before else wanted
        self.resize(pool, wanted)
        self._waiting.append((wanted, answer))

    def next_to_leave(self, serving: list[Member]) -> Member:
        """Return who goes when there are too many: who was named, else the oldest."""
        order = {pid: place for place, pid in enumerate(self.first_to_leave)}
        return min(serving, key=lambda member: order.get(member.pid, len(order)))

    def let_go(self, pool: Pool) -> None:
        """Ask one of too many to leave."""
        pool.ask_to_leave(self.next_to_leave(pool.members.serving), Intent.SCALE)

    def answer(self, ready: int, there: int) -> None:
        """Tell those who waited, when so many are ready and no more are there, or another number is wanted by now."""
        done = [one for one in self._waiting if one[0] != self.number or (ready == one[0] == there)]
        self._waiting = [one for one in self._waiting if one not in done]
        for wanted, answer in done:
            answer(*((ExitCode.OK, "") if wanted == self.number else (ExitCode.BUG, "another number was asked for")))
