"""What did a worker die of?

The order of the questions and the words of the verdicts are DESIGN §7's: our own intent first, then how far it had
come, then the signal. "Out of memory" is said only when the kernel's counter says so.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from launcher.serving.pool.members import Intent, Member

_NATIVE = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP})


class Verdict(StrEnum):
    """Why a worker is no more; STOPPED: because the pool wanted it."""

    STOPPED = "stopped"
    OOM = "oom"
    KILLED = "killed"
    NATIVE_CRASH = "native-crash"
    HANG = "hang"
    BOOT_FAILED = "boot-failed"
    BOOT_HANG = "boot-hang"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class OomCounter:
    """How many of the kernel's OOM kills in this group no death has been put down to yet.

    `read` returns the group's counter, None where it cannot be read.
    """

    read: Callable[[], int | None]
    _seen: int | None = None

    def __post_init__(self) -> None:
        """Begin with what happened before us."""
        self._seen = self.read()

    def struck(self) -> bool | None:
        """Tell whether one more kill has been counted, and put it down to the caller; None: nobody knows."""
        now = self.read()
        if now is None or self._seen is None:
            return None
        if now <= self._seen:
            return False
        self._seen += 1
        return True


def ending(status: int) -> dict[str, object]:
    """Return how a process ended, for people and machines: `{"code": 3}` or `{"signal": "SIGKILL"}`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return {"signal": signal.Signals(number).name}
        except ValueError:
            return {"signal": f"signal {number}"}
    return {"code": os.waitstatus_to_exitcode(status)}


def judge(member: Member, status: int, oom: OomCounter) -> Verdict:
    """Return the verdict over a worker that was reaped with `status`, a wait status as os.waitpid returns it."""
    if member.intent is Intent.HANG:
        return Verdict.HANG
    if member.intent is Intent.BOOT_HANG:
        return Verdict.BOOT_HANG
    if os.WIFSIGNALED(status):
        return _by_signal(member, os.WTERMSIG(status), oom)
    # A worker class that knows nothing of the pool ends by itself after --max-requests.
    if member.intent is not None or (member.slot.retiring and os.waitstatus_to_exitcode(status) == 0):
        return Verdict.STOPPED
    return Verdict.EXITED if member.ready else Verdict.BOOT_FAILED


def _by_signal(member: Member, number: int, oom: OomCounter) -> Verdict:
    ours = member.intent is not None and (member.doomed is not None or number == signal.SIGTERM)
    if ours:
        return Verdict.STOPPED
    if number == signal.SIGKILL:
        struck = oom.struck()
        return Verdict.UNKNOWN if struck is None else Verdict.OOM if struck else Verdict.KILLED
    return Verdict.NATIVE_CRASH if number in _NATIVE else Verdict.KILLED
