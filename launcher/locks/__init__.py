"""What does a lock promise, and what has to be recorded beside it?

Mutual exclusion alone is not once-only (evidence: twelve replicas with a bare lock ran the step twelve times), so a
lock type brings its own ledger. The rules: a lock is asked for, never waited in (`try_acquire` returns at once, nothing
stays open on the server between tries); it is never connected again behind the holder's back; ownership is *asked for*,
not remembered; what cannot be locked safely is refused with the cure, never treated as "no lock needed".
A type is registered in the entry-point group `launcher.locks` under its URL scheme.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

__all__ = ["Held", "Holder", "Ledger", "Lock", "LockContext", "Owner", "Record", "State"]

State = Literal["running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who is asking: enough for a person on another host to find the process."""

    host: str
    pid: int
    release: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has the lock. `age_s` in seconds, by the clock of the lock's side."""

    owner: Owner
    step: str
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What has been done: one per step and key. `key` says for what (release id, content hash, `ever`, `start`)."""

    step: str
    key: str
    state: State
    token: int  # fencing: grows by one with each beginning of the step; only the newest may write the end
    attempt: int  # of this key
    owner: Owner
    started_at: str  # RFC 3339 UTC, by the clock of the ledger's side
    finished_at: str | None = None
    exit_code: int | None = None
    tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockContext:
    """What every lock type is made with."""

    where: str  # what the user wrote: a URL or path after the scheme, possibly empty
    cwd: Path
    owner: Owner
    namespace: str  # two applications in one database do not block each other


class Ledger(Protocol):
    """The record of what has been done. Reading needs no lock; writing is done by the holder alone."""

    def read(self, step: str, key: str) -> Record | None:
        """Return what is known of a step for a key. Raises LauncherError when the ledger cannot be trusted."""

    def records(self) -> list[Record]:
        """Return everything that is known, oldest first."""

    def begin(self, step: str, key: str) -> Record:
        """Write `running` with the next token, before the work starts."""

    def finish(self, record: Record, state: State, *, exit_code: int | None, tail: str) -> bool:
        """Write the end if `record.token` is still the newest; return False (and write nothing) otherwise."""


class Held(Protocol):
    """A lock that is ours."""

    heartbeat_s: float | None  # ask for ownership this often; None: the kernel tells, nothing to ask
    give_up_s: (
        float | None
    )  # without a good answer for so long, the step is killed (G); G + kill grace < server's expiry

    def confirm(self) -> None:
        """Ask whether the lock is still ours. Raises LockLost. May block: called off the main thread."""

    def descriptors(self) -> tuple[int, ...]:
        """Return what the step guard keeps open until the step's tree is dead: a file lock's descriptor."""

    def say_step(self, step: str) -> None:
        """Let waiters see which step is running."""

    def release(self) -> None:
        """Give it back and check that it was ours. Raises LockLost."""


class Lock(Protocol):
    """One way to be the only one."""

    kind: ClassVar[str]
    hosts: ClassVar[Literal["this host", "every host"]]  # how far it reaches; said when it is less than the fleet

    def __init__(self, context: LockContext) -> None:
        """Check what was asked; raise UsageError with the cure. Opens nothing."""

    @property
    def where(self) -> str:
        """Where the lock is, redacted, for the plan and the log."""

    @property
    def warning(self) -> str | None:
        """What should be said about this lock, if anything."""

    @property
    def ledger(self) -> Ledger:
        """The records beside the lock."""

    def try_acquire(self) -> Held | None:
        """Take it or return None, at once. Raises UsageError (refused, with the cure) or OSError (try again)."""

    def holder(self) -> Holder | None:
        """Tell who has it, as far as it can be known."""

    def close(self) -> None:
        """Let go of everything; nothing of the lock is open afterwards."""
