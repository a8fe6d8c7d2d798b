"""Who is in the pool?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from launcher.scoreboard import Slot, SlotState, Stage
from launcher.serving.evidence import Evidence

_LIFETIME_JITTER = 0.1  # of the longest life: workers that started together are not replaced together


class Intent(StrEnum):
    """What the pool itself has in mind for a worker; a death by it is no mystery."""

    STOP = "stop"
    SCALE = "scale"
    RELOAD = "reload"
    RECYCLE = "recycle"
    HANG = "hang"
    BOOT_HANG = "boot-hang"


@dataclass(slots=True, eq=False)
class Member:
    """One worker process from its start until it is reaped. Times: monotonic, in seconds."""

    pid: int
    slot: Slot
    evidence: Evidence
    generation: int
    number: int  # the pool's first worker is 1
    started: float
    ready: bool = False  # ever
    intent: Intent | None = None
    because: str = ""  # why it is recycled
    leaving: float | None = None  # since when it has been asked to stop
    quick: bool = False
    doomed: float | None = None  # since when it is being killed
    blow: int = 0  # how far that has come
    silent_s: float = 0.0  # for how long it had been silent by then
    seen: SlotState | None = None  # its slot by then: a signal may wake it, and it ends its request before it dies
    had_children: bool = False  # processes of its own, whenever somebody looked
    reaped: int | None = None  # `launcher.procfs.reaped`, when somebody last looked

    @property
    def stage(self) -> Stage:
        """What it says it is doing."""
        return self.slot.stage

    @property
    def booting(self) -> bool:
        """Whether it has not been ready yet, and nothing else is wanted of it."""
        return not self.ready and self.intent is None

    def worn_out(self, now: float, longest_s: float | None) -> str:
        """Return why it has been there for long enough; empty: it has not. longest_s: of its life, if there is one."""
        if self.slot.retiring:
            return "max-requests"
        early = random.Random(self.number).uniform(0, _LIFETIME_JITTER)  # noqa: S311 - no secret; the same each time we look
        return "max-worker-lifetime" if longest_s and now - self.started > longest_s * (1 - early) else ""


@dataclass(slots=True)
class Members:
    """The pool's workers by pid, in the order of their start."""

    _by_pid: dict[int, Member] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Member]:
        """Iterate over a copy: members come and go meanwhile."""
        return iter(list(self._by_pid.values()))

    def __len__(self) -> int:
        """Return how many processes there are, whatever they do."""
        return len(self._by_pid)

    def __contains__(self, member: object) -> bool:
        """Tell whether this very process is still there."""
        return isinstance(member, Member) and self._by_pid.get(member.pid) is member

    def add(self, member: Member) -> None:
        """Take a started worker in."""
        self._by_pid[member.pid] = member

    def remove(self, pid: int) -> Member | None:
        """Take a reaped worker out; None: it was not ours."""
        return self._by_pid.pop(pid, None)

    def find(self, pid: int) -> Member | None:
        """Return the worker with this pid."""
        return self._by_pid.get(pid)

    @property
    def active(self) -> list[Member]:
        """Those that are meant to stay, the oldest first."""
        return [member for member in self if member.intent is None]

    @property
    def serving(self) -> list[Member]:
        """Those that are ready and meant to stay, the oldest first."""
        return [member for member in self.active if member.ready]

    @property
    def booting(self) -> list[Member]:
        """Those that are not ready yet."""
        return [member for member in self if member.booting]

    def free_index(self, slots: int) -> int:
        """Return the lowest slot that nobody has. Raises LookupError when all are taken."""
        taken = {member.slot.index for member in self}
        for index in range(slots):
            if index not in taken:
                return index
        raise LookupError(f"all {slots} slots of the scoreboard are taken")
