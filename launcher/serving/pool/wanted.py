"""How many workers are wanted?

As many as somebody said, or the pilot found room for; fewer while the kernel would kill otherwise, as the monitor sees
it. Those that were given up are taken back when there is room again, unless another number was said meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


@dataclass(frozen=True, slots=True)
class Standing:
    """The number as it stood. is_dismissed: somebody had said it."""

    number: int
    given_up: int
    is_dismissed: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody who waits until there are so many. is_fewer: until there are no more, whoever of them is ready."""

    number: int
    answer: Answer
    is_fewer: bool = False

    def outcome(self, wanted: int, ready: int, there: int) -> tuple[ExitCode, str] | None:
        """Return the answer; None: not yet."""
        if self.is_fewer and there <= self.number:
            return ExitCode.OK, ""
        if wanted > self.number if self.is_fewer else wanted != self.number:
            return ExitCode.BUG, "another number was asked for"
        return (ExitCode.OK, "") if ready == self.number == there else None


@dataclass(slots=True)
class Wanted:
    """The number, and who waits for it.

    given_up: how many fewer there are for want of memory; on the board, too.
    first_to_leave: pids that go before the oldest does, when there are to be fewer.
    """

    number: int
    given_up: int = 0
    first_to_leave: list[int] = field(default_factory=list)
    _waiting: list[Waiting] = field(default_factory=list)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits until so many are ready."""
        return bool(self._waiting)

    def scale(self, pool: Pool, wanted: int, answer: Answer) -> None:
        """Have so many, at least one, as somebody wants it; more than there is room for are refused."""
        wanted = min(max(1, wanted), MOST_WORKERS)
        if pool.stopping is not None:
            answer(ExitCode.BUG, "the pool stops")
            return
        is_more = wanted > self.number
        if is_more and pool.space is not None and (lacking := pool.space.lacking_for(pool, wanted)):
            pool.voice.warn("launcher.scale_refused", wanted=wanted, kept=self.number, because=lacking)
            answer(ExitCode.NO_WORKER_FITS, f"{lacking}: the pool keeps {self.number}")
            return
        if pool.pilot is not None:
            pool.pilot.dismiss()
        self._give_up(pool, 0)
        self._have(pool, wanted)
        self._waiting.append(Waiting(wanted, answer))

    def standing(self, pool: Pool) -> Standing:
        """Return how many are wanted, to come back to it."""
        return Standing(self.number, self.given_up, pool.pilot is not None and pool.pilot.dismissed)

    def restore(self, pool: Pool, standing: Standing) -> None:
        """Want as many as a moment ago, so that nobody asks whether they fit: what came after it has failed."""
        if pool.stopping is None:
            if pool.pilot is not None:
                pool.pilot.dismissed = standing.is_dismissed
            self._give_up(pool, standing.given_up)
            self._have(pool, standing.number)

    def _have(self, pool: Pool, wanted: int) -> None:
        if wanted != self.number:
            self.resize(pool, wanted)
            pool.voice.say("launcher.pool_resized", wanted=wanted)

    def resize(self, pool: Pool, wanted: int) -> None:
        """Have so many, at least one."""
        wanted = min(max(1, wanted), MOST_WORKERS)
        if wanted != self.number:
            self.number = wanted
            pool.size_changed()
            pool.hands.resized(wanted)

    def found(self, pool: Pool, wanted: int, first_to_leave: Sequence[int]) -> None:
        """Have so many, as the pilot has found: while some are given up no more than now, and fewer of those then."""
        self.first_to_leave = list(first_to_leave)
        if self.given_up:
            wanted = min(wanted, self.number)
            self._give_up(pool, max(0, self.given_up - (self.number - wanted)))
        self.resize(pool, wanted)

    def shrink(self, pool: Pool, wanted: int, pid: int | None, because: str, answer: Answer) -> None:
        """Have fewer until there is room again; `pid` goes first."""
        if pool.stopping is not None or not 1 <= wanted < self.number:
            answer(ExitCode.USAGE, f"a pool of {self.number} cannot be made one of {wanted} for want of memory")
            return
        before = self.number
        self._give_up(pool, self.given_up + before - wanted)
        self.first_to_leave = [] if pid is None else [pid]
        pool.voice.warn("launcher.pool_shrunk", wanted=wanted, before=before, because=because)
        self.resize(pool, wanted)
        self._waiting.append(Waiting(wanted, answer, is_fewer=True))

    def grow_back(self, pool: Pool, because: str, answer: Answer) -> None:
        """Take one back of those that were given up, if the pilot has not found meanwhile that they do not fit."""
        if pool.stopping is not None or not self.given_up:
            answer(ExitCode.USAGE, "no worker was given up for want of memory")
            return
        pilot = None if pool.pilot is None or pool.pilot.dismissed else pool.pilot
        if pilot is not None and self.number >= (fits := pilot.fits):
            self._give_up(pool, 0)
            answer(ExitCode.USAGE, f"by what the workers were measured at no more than {fits} fit")
            return
        self._give_up(pool, self.given_up - 1)
        before = self.number
        pool.voice.say("launcher.pool_grown_back", wanted=before + 1, before=before, because=because)
        self.resize(pool, before + 1)
        self._waiting.append(Waiting(before + 1, answer))
        if pilot is not None and not self.given_up:
            pilot.has_room_again(pool)

    def reloaded(self, pool: Pool) -> None:
        """There is other code now: where the pilot finds the number it finds it anew."""
        if pool.pilot is not None and not pool.pilot.dismissed:
            self._give_up(pool, 0)

    def _give_up(self, pool: Pool, number: int) -> None:
        self.given_up = pool.board.given_up = number

    def next_to_leave(self, serving: list[Member]) -> Member:
        """Return who goes when there are too many: who was named, else the oldest."""
        order = {pid: place for place, pid in enumerate(self.first_to_leave)}
        return min(serving, key=lambda member: order.get(member.pid, len(order)))

    def let_go(self, pool: Pool) -> None:
        """Ask one of too many to leave."""
        pool.ask_to_leave(self.next_to_leave(pool.members.serving), Intent.SCALE)

    def answer(self, ready: int, there: int) -> None:
        """Tell those who waited, when so many are ready and no more are there, or another number is wanted by now."""
        outcomes = [(one, one.outcome(self.number, ready, there)) for one in self._waiting]
        self._waiting = [one for one, outcome in outcomes if outcome is None]
        for one, outcome in outcomes:
            if outcome is not None:
                one.answer(*outcome)
