"""What can go wrong, in the user's words, and with which exit code?

The docstring of each class is the sentence a user reads when nothing better is said; attributes carry the facts.
Nothing here prints or exits: `launcher.cli.reporting` does, in one place.
"""

from __future__ import annotations

import inspect
import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the contract: 3 as gunicorn and uvicorn, 69/75 as sysexits, 126/127/128+n as every shell."""

    OK = 0
    BUG = 1
    USAGE = 2
    NEVER_READY = 3
    STEP_FAILED = 10
    NO_WORKER_FITS = 12
    DEPENDENCY_DOWN = 69
    CRASH_LOOP = 70
    LOCK_NOT_OBTAINED = 75
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    SIGNALLED = 128


class LauncherError(Exception):
    """The launcher could not go on."""

    exit_code: int = ExitCode.BUG

    def __init__(self, message: str = "", *, cure: str = "", detail: str = "") -> None:
        """Keep what happened (`message`), what helps (`cure`), and what somebody else printed (`detail`)."""
        self.message = message or inspect.getdoc(type(self)) or type(self).__name__
        self.cure = cure
        self.detail = detail
        super().__init__(self.message)


class UsageError(LauncherError):
    """A setting, an option or a file is not as it has to be."""

    exit_code = ExitCode.USAGE


class PluginError(UsageError):
    """A plugin that was asked for cannot be used."""


class StepFailed(LauncherError):
    """A pre-start step failed."""

    exit_code = ExitCode.STEP_FAILED


class StepRefused(StepFailed):
    """A pre-start step was not allowed to run."""


class DependencyDown(LauncherError):
    """Something that had to be waited for never came up."""

    exit_code = ExitCode.DEPENDENCY_DOWN


class NoWorkerFits(LauncherError):
    """The memory budget does not hold one worker."""

    exit_code = ExitCode.NO_WORKER_FITS


class LockNotObtained(LauncherError):
    """Another process held the lock until the deadline."""

    exit_code = ExitCode.LOCK_NOT_OBTAINED


class LockLost(LauncherError):
    """The lock was lost while a step ran: the step was killed and nothing was recorded as done."""

    exit_code = ExitCode.LOCK_NOT_OBTAINED


class ServerNotFound(LauncherError):
    """The server's program does not exist."""

    exit_code = ExitCode.NOT_FOUND


class ServerNotExecutable(LauncherError):
    """The server's program could not be executed."""

    exit_code = ExitCode.NOT_EXECUTABLE


class Interrupted(LauncherError):
    """A signal ended the start."""

    def __init__(self, signum: int) -> None:
        """Remember which signal, for the exit code 128 + n of the shells."""
        super().__init__(f"ended by {signal.Signals(signum).name} before the server was started")
        self.signum = signum
        self.exit_code = ExitCode.SIGNALLED + signum
