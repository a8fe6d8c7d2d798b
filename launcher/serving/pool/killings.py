"""Who was killed by the kernel for memory, and who by somebody else?

SIGKILL does not say who sent it. The kernel counts its OOM kills, and counts before it kills: a death that finds the
counter unmoved was somebody else's. When it has moved, all deaths of the same moment are judged together: who lets go
of much memory dies more slowly than others. (memory-and-crash.md §B3.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from launcher import procfs
from launcher.limits.oom import OomCounts
from launcher.serving.pool.deaths import Death, Judgement, Verdict
from launcher.serving.pool.members import Member

WINDOW_S = 0.1  # in which deaths belong together, from when the counter was seen to have moved
_DYING_S = 5.0  # who is still on its way out is waited for, no longer than that
_CHILDREN_EVERY_S = 1.0


class OomCounter:
    """How many of the kernel's OOM kills in this group no death has been put down to yet."""

    def __init__(self, read: Callable[[], OomCounts]) -> None:
        """Begin with what happened before us."""
        self._read = read
        self.now = self.before = read()

    @property
    def delta(self) -> int | None:
        """Return how many there are; None: nobody knows."""
        before, now = self.before.kills, self.now.kills
        return None if before is None or now is None or now < before else now - before

    @property
    def kills(self) -> tuple[int, int] | None:
        """Return the counter before and after."""
        before, now = self.before.kills, self.now.kills
        return None if before is None or now is None else (before, now)

    @property
    def by_own_limit(self) -> bool:
        """Tell whether this group's own limit was met, as far as the kernel says so."""
        before, now = self.before.oom, self.now.oom
        return before is None or now is None or now > before

    def look(self) -> None:
        """Read it."""
        self.now = self._read()

    def settle(self) -> None:
        """Put all that was counted down to what has been judged."""
        self.before = self.now


@dataclass(frozen=True, slots=True)
class Stranger:
    """Processes that were killed for memory and are no workers: how many, and what is known."""

    count: int
    evidence: tuple[str, ...]
    kills: tuple[int, int] | None


@dataclass(slots=True)
class Killings:
    """The deaths by a SIGKILL that was not ours, until they are judged."""

    counter: OomCounter
    members: Callable[[], Iterable[Member]]
    _open: list[Death] = field(default_factory=list)
    _others: list[int] = field(default_factory=list)  # reaped, killed, and no workers
    _moved_at: float | None = None
    _children_at: float = 0.0
    _asked: int = 0

    @property
    def open(self) -> bool:
        """Whether a death waits for its judgement."""
        return bool(self._open)

    @property
    def busy(self) -> bool:
        """Whether something will have to be said in a moment."""
        return self._moved_at is not None

    def take(self, death: Death) -> None:
        """Take note of a worker's death."""
        self._open.append(death)

    def other(self, pid: int) -> None:
        """Take note of a killed child that was no worker."""
        self._others.append(pid)

    def look(self, now: float) -> tuple[list[tuple[Death, Judgement]], Stranger | None]:
        """Return who can be judged by now, and what the kernel has counted beside them."""
        self._look_for_children(now)
        self.counter.look()
        if (delta := self.counter.delta) is None:
            return self._end([_UNKNOWN] * len(self._open))
        if not delta:
            return self._end([_killed(self.counter)] * len(self._open))
        self._moved_at = now if self._moved_at is None else self._moved_at
        if now - self._moved_at < WINDOW_S or (now - self._moved_at < _DYING_S and self._somebody_is_dying()):
            return [], None
        candidates = len(self._open) + len(self._others)
        judgement = self._for_memory(delta, candidates)
        beside = delta - len(self._open) if candidates <= delta or not self._open else 0
        stranger = Stranger(beside, self._known_of_others(), self.counter.kills) if beside > 0 else None
        return self._end([judgement] * len(self._open), stranger)

    def _end(
        self, judgements: list[Judgement], stranger: Stranger | None = None
    ) -> tuple[list[tuple[Death, Judgement]], Stranger | None]:
        judged = list(zip(self._open, judgements, strict=True))
        if self.counter.delta != 0:  # else `oom`, which is counted before the kill, would seem not to have moved
            self.counter.settle()
        self._open, self._others, self._moved_at = [], [], None
        return judged, stranger

    def _for_memory(self, delta: int, candidates: int) -> Judgement:
        counted = _counted(self.counter)
        if candidates > delta:
            pids = [*(death.member.pid for death in self._open), *self._others]
            names = ", ".join(map(str, sorted(pids)))
            seen = f"{delta} of these {candidates} deaths: {names}; which one, nobody can tell"
            said = f"was killed: {delta} of {candidates} that died together for memory, maybe this one"
            return Judgement(Verdict.OOM, said, "probable", (counted, seen, *self._whose_limit()), self.counter.kills)
        said, evidence = "was killed by the kernel for memory", (counted, *self._whose_limit())
        if self._somebody_had_children():
            more = "workers have had child processes, one of which may have been killed instead"
            return Judgement(Verdict.OOM, said, "probable", (*evidence, more), self.counter.kills)
        return Judgement(Verdict.OOM, said, "certain", evidence, self.counter.kills)

    def _known_of_others(self) -> tuple[str, ...]:
        evidence = [_counted(self.counter), *self._whose_limit()]
        evidence += [f"{len(self._open)} workers died of it"] if self._open else ["no worker died then"]
        if self._others:
            evidence.append(f"killed then, and no workers: {', '.join(map(str, self._others))}")
        elif self._somebody_had_children():
            evidence.append("workers have had child processes")
        return tuple(evidence)

    def _whose_limit(self) -> list[str]:
        if self.counter.by_own_limit:
            return []
        return ["the limit of this group was not met: it was one above it, or the memory of the host"]

    def _somebody_is_dying(self) -> bool:
        return any(procfs.ending(member.pid) for member in self.members())

    def _somebody_had_children(self) -> bool:
        for member in self.members():
            _look_at_children(member, now=True)
        return any(one.had_children for one in (*self.members(), *(death.member for death in self._open)))

    def _look_for_children(self, now: float) -> None:
        """Ask one worker after the other, one a second: each of its threads has a file of its own."""
        members = list(self.members())
        if members and now - self._children_at >= _CHILDREN_EVERY_S:
            self._children_at, self._asked = now, self._asked + 1
            member = members[self._asked % len(members)]
            _look_at_children(member)


def _look_at_children(member: Member, *, now: bool = False) -> None:
    """Note whether it has children, or has collected some since somebody looked; `now`: or ever, if nobody has.

    What a worker runs while it is imported is no reason to doubt ever after.
    """
    reaped, before = procfs.reaped(member.pid), member.reaped
    collected = reaped is not None and (now or before is not None) and reaped > (before or 0)
    member.had_children = member.had_children or collected or procfs.has_children(member.pid)
    member.reaped = reaped if member.ready else None


def _counted(counter: OomCounter) -> str:
    before, now = counter.kills or (0, 0)
    return f"the kernel's counter of OOM kills went from {before} to {now} ({counter.now.source})"


def _killed(counter: OomCounter) -> Judgement:
    count, _ = counter.kills or (0, 0)
    evidence = f"the kernel's counter of OOM kills did not move ({count} before and after): somebody sent SIGKILL"
    return Judgement(Verdict.KILLED, "was killed from outside (SIGKILL)", "certain", (evidence,), counter.kills)


_UNKNOWN = Judgement(
    Verdict.UNKNOWN,
    "was killed (SIGKILL), nobody knows by whom",
    "guess",
    ("SIGKILL ended it; the kernel's counter of OOM kills cannot be read here, so nobody knows who sent it",),
)
