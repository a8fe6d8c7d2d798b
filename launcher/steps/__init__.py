"""What is a pre-start step?

A named unit of work that runs before the server, in a process of its own, under the step guard. A type is a class that
keeps `Step`, registered in the entry-point group `launcher.steps` under the word used in `[[prestart]]`; the built-in
types are registered the same way. A step never works inside the launcher: it says which command does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from launcher.settings.topics import OncePer, StepSettings

__all__ = ["Command", "Due", "Finished", "OncePer", "Step", "StepContext", "StepSettings"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the step guard executes. Secrets go into `stdin` or `environ`, never into `argv` (/proc/*/cmdline)."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)  # added to the launcher's own
    stdin: bytes = b""
    reports: bool = False  # the process may answer in bytes on descriptor $LAUNCHER_STEP_REPORT_FD
    must_report: bool = False  # without an answer it is not done, whatever its exit code (`os._exit(0)`)
    exit_codes: Mapping[int, int] = field(default_factory=dict)  # its code -> the launcher's, where 10 is not right


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended. `status` as `os.waitstatus_to_exitcode`: an exit code, or -n for signal n."""

    status: int
    seconds: float
    tail: str = ""  # the last lines of stdout and stderr
    report: bytes = b""
    timed_out: bool = False
    leftovers: tuple[str, ...] = ()  # processes it left behind, killed by the guard

    @property
    def ok(self) -> bool:
        """Whether the work is done: exit code 0, in time."""
        return self.status == 0 and not self.timed_out


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a step has something to do. `due=None`: it cannot tell by itself, its record decides."""

    due: bool | None
    because: str
    fresh: bool = False  # what it works on is new: records about it from before do not count


@runtime_checkable
class StepContext(Protocol):
    """What a step may ask of the launcher while it looks at what is to be done."""

    @property
    def cwd(self) -> Path:
        """The project's folder."""

    @property
    def import_dir(self) -> Path | None:
        """What the application is imported from; None when no application was found."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment, with what earlier steps exported."""

    @property
    def release(self) -> str:
        """The release id; found when it is first asked for. Raises UsageError when there is none to rely on."""

    @property
    def on_unknown_revision(self) -> str:
        """`refuse` or `start`."""

    def run(self, command: Command, *, timeout_s: float) -> Finished:
        """Execute `command` under a guard, quietly; signals end it. Raises Interrupted."""

    def off_thread(self, function: Callable[[], T], *, timeout_s: float) -> T:
        """Call what may block (a driver, a name look-up) in a helper thread. Raises TimeoutError, Interrupted."""

    def ask(self, url: str, sql: str, *, timeout_s: float) -> list[tuple[object, ...]]:
        """Ask one question of a database, through the lock's connection where it leads there.

        Raises as `launcher.databases.ask`, TimeoutError, Interrupted.
        """

    def remembered(self, key: str) -> object | None:
        """Return what an earlier start kept under `key` (JSON values), or None. Never a secret."""

    def remember(self, key: str, value: object) -> None:
        """Keep a JSON value for later starts; without a place to write, nothing happens."""

    def say(self, event: str, **facts: object) -> None:
        """Write one log event."""

    def warn(self, event: str, **facts: object) -> None:
        """Write one log event as a warning."""


class Step(Protocol):
    """One type of pre-start work."""

    once_per: ClassVar[OncePer]  # the default of the type
    needs_lock: ClassVar[bool]  # False: runs in every replica, before the lock is asked for (`wait-for`)
    tells_due: ClassVar[bool]  # True: `due` can find out by itself that there is nothing to do

    def __init__(self, settings: StepSettings) -> None:
        """Check the settings; raise UsageError that names the place and the cure."""

    def due(self, context: StepContext) -> Due:
        """Tell whether there is anything to do, without doing it. Asked before the lock and again under it."""

    def command(self, context: StepContext) -> Command:
        """Return what does the work."""

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:
        """Look at a successful end; return variables that later steps and the server get (None unsets one)."""

    def where(self) -> str:
        """Tell what it works on, for the plan (redacted): `alembic.ini`, `sh -c ...`, `tcp://cache:6379`."""
