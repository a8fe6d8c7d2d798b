"""What does a lock promise, and what has to be recorded beside it?

Mutual exclusion alone is not once-only (evidence: twelve replicas with a bare lock ran the step twelve times), so a
lock type brings its own ledger. The rules: a lock is asked for, never waited in (`try_acquire` returns at once, nothing
stays open on the server between tries); it is never connected again behind the holder's back; ownership is *asked for*,
not remembered; what cannot be locked safely is refused with the cure, never treated as "no lock needed".
A type is registered in the entry-point group `launcher.locks` under its URL scheme.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

__all__ = [
    "OPTIONS",
    "Held",
    "Holder",
    "Ledger",
    "Lock",
    "LockContext",
    "LockCrowded",
    "LockUnreachable",
    "Orphans",
    "Owner",
    "Record",
    "State",
]

State = Literal["running", "done", "failed"]
Orphans = Literal["wait", "terminate"]

# The settings that not every lock type has a use for, as `Lock.uses` names them.
OPTIONS = frozenset({"lock_expiry", "ledger_table", "orphans"})


class LockUnreachable(OSError):
    """Nobody answers where the lock is: to be tried again for a bounded time."""


class LockCrowded(OSError):
    """The lock's side is there and has no room for us ("too many clients"): to be tried again until the deadline."""


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
    grace_s: float = 0.0  # how long its owner, cut off from the lock, may need until its step is dead
    age_s: float | None = None  # since it began or ended, when it was read, by the ledger's clock; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class LockContext:
    """What every lock type is made with. Durations in seconds."""

    where: str  # what the user wrote after the scheme: the rest of a URL, a path, or nothing
    cwd: Path
    owner: Owner
    namespace: str  # two applications in one database do not block each other
    scheme: str = "file"  # as it was written: `postgresql+asyncpg`
    expiry_s: float = 30.0  # R of evidence/locks.md: after so long in silence the server gives the lock to others
    kill_grace_s: float = 5.0  # K: what a step gets between TERM and KILL
    ledger_table: str = "asgi_launcher_ledger"  # `[schema.]table`, for locks whose records are a table
    orphans: Orphans = "wait"  # what is done with a dead holder's work that the server still carries out

    @property
    def url(self) -> str:
        """The whole URL, with its password: never for a text that somebody reads."""
        return f"{self.scheme}:{self.where}"


class Ledger(Protocol):
    """The record of what has been done. Reading needs no lock; writing is done by the holder alone."""

    def read(self, step: str, key: str) -> Record | None:
        """Return what is known of a step for a key. Raises LauncherError when the ledger cannot be trusted."""

    def records(self) -> list[Record]:
        """Return everything that is known, oldest first."""

    def begin(self, step: str, key: str, *, after: int | None = None) -> Record:
        """Write `running` with the next token, before the work starts.

        `after`: the newest token of the step (0: none) when it was looked at under the lock. Raises LockLost when there
        is another one by now: somebody else has the lock. None: no such look.
        """

    def finish(self, record: Record, state: State, *, exit_code: int | None, tail: str) -> bool:
        """Write the end; return False (and write nothing) if `record.token` is not the newest or has ended already."""


class Held(Protocol):
    """A lock that is ours."""

    heartbeat_s: float | None  # ask for ownership this often; None: the kernel tells, nothing to ask
    # Without a good answer for so long the step is killed (G of evidence/locks.md): G + kill grace < server's expiry.
    give_up_s: float | None
    # How long a predecessor that was cut off may still be at work; 0 where the lock is free only when all is dead.
    takeover_s: float

    def confirm(self) -> None:
        """Ask whether the lock is still ours. Raises LockLost. May block: called off the main thread."""

    def watched(self) -> int | None:
        """Return a descriptor that becomes readable when the lock is lost; None: there is none to be watched."""

    def descriptors(self) -> tuple[int, ...]:
        """Return what the step guard keeps open until the step's tree is dead: a file lock's descriptor."""

    def environ(self) -> Mapping[str, str]:
        """Return variables for the steps, so that the server can tell their work apart later (PGAPPNAME)."""

    def orphans(self) -> tuple[str, ...]:
        """Return in words what the server still does for predecessors; ends first what it was told to, and what idles.

        Asked before each run of steps, until there is nothing. Raises LockLost.
        """

    def say_step(self, step: str) -> None:
        """Let waiters see which step is running. A failure to say it is no error."""

    def release(self) -> None:
        """Give it back and check that it was ours. Raises LockLost."""


class Lock(Protocol):
    """One way to be the only one."""

    kind: ClassVar[str]
    hosts: ClassVar[Literal["this host", "every host"]]  # how far it reaches; said when it is less than the fleet
    # Which of OPTIONS have an effect: what is set of the others is said. A type that does not tell uses all of them.
    uses: ClassVar[frozenset[str]]

    def __init__(self, context: LockContext) -> None:
        """Check what was asked; raise UsageError with the cure. Opens nothing."""

    @property
    def where(self) -> str:
        """Where the lock is, redacted, for the plan and the log."""

    @property
    def warning(self) -> str | None:
        """What should be said about this lock, if anything."""

    @property
    def look(self) -> str:
        """How a person sees the holder with other tools: a query, a command."""

    @property
    def ledger(self) -> Ledger:
        """The records beside the lock. They are asked for off the main thread, as everything below is."""

    @property
    def poll_s(self) -> tuple[float, float]:
        """The bounds of the jittered pause between two tries, in seconds; asked again after each."""

    def try_acquire(self) -> Held | None:
        """Take it or return None, at once.

        Raises UsageError (refused, with the cure), LockUnreachable, LockCrowded.
        """

    def mark(self) -> object:
        """Return what differs when the records have changed, as far as the last try has seen; None: not known.

        A waiter that sees it change looks whether there is still something to do, without the lock.
        """

    def ask(self, url: str, sql: str) -> list[tuple[object, ...]] | None:
        """Ask the lock's own open connection if it leads to the database `url`; None: ask elsewhere.

        So a waiter needs one connection in all. Raises what `launcher.databases.ask` raises.
        """

    def holder(self) -> Holder | None:
        """Tell who has it, as far as it can be known."""

    def close(self) -> None:
        """Let go of everything; nothing of the lock is open afterwards."""
