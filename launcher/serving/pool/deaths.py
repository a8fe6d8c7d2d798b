"""What did a worker die of?

The order of the questions and the words of the verdicts are DESIGN §7's: our own intent first, then how far it had
come, then the signal. Who sent a SIGKILL that was not ours is another question (`launcher.serving.pool.killings`).
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from launcher.errors import ExitCode
from launcher.scoreboard import SlotState
from launcher.serving.pool.hangs import was_killed_by_us
from launcher.serving.pool.members import Intent, Member

_NATIVE = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP})
# What uvicorn says last, whatever the reason was.
_NO_CAUSE = frozenset({"Application startup failed. Exiting."})
Confidence = Literal["certain", "probable", "guess"]


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


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what it rests on.

    said: the end of a sentence that begins with the worker. evidence: sentences. kills: the kernel's counter of OOM
    kills before and after, where it was asked.
    """

    verdict: Verdict
    said: str
    confidence: Confidence = "certain"
    evidence: tuple[str, ...] = ()
    kills: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that was reaped, with all that it left behind.

    status: as os.waitpid returns it. at: monotonic. state: of its slot. written: its evidence.
    """

    member: Member
    status: int
    at: float
    state: SlotState
    written: str

    @classmethod
    def of(cls, member: Member, status: int, at: float) -> Death:
        """Read what is left of a worker; its slot and its evidence are free afterwards."""
        state = member.slot.read()
        if member.seen is not None and not state.in_flight:
            state = replace(state, in_flight=member.seen.in_flight, more_requests=member.seen.more_requests)
        try:
            written = member.evidence.read()
        except OSError:
            written = ""
        member.evidence.close()
        member.slot.free()
        return cls(member, status, at, state, written)

    @property
    def how(self) -> str:
        """How it ended, for a sentence: `code 3`."""
        return ", ".join(f"{name} {value}" for name, value in ending(self.status).items())


def ending(status: int) -> dict[str, int | str]:
    """Return how a process ended, for people and machines: `{"code": 3}` or `{"signal": "SIGKILL"}`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return {"signal": signal.Signals(number).name}
        except ValueError:
            return {"signal": f"signal {number}"}
    return {"code": os.waitstatus_to_exitcode(status)}


def cause(written: str) -> str:
    """Return the line that says why a boot failed, of what was written about it; "" when nothing was."""
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line not in _NO_CAUSE), "")


def judge(death: Death) -> Judgement | None:
    """Return the judgement over a dead worker; None: it was killed by SIGKILL, and not by us."""
    member, status = death.member, death.status
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGKILL and not was_killed_by_us(member):
        return None
    if member.intent in _SILENT:
        return _silent(death, member.intent)
    if number:
        return _by_signal(death, number)
    # A worker class that knows nothing of the pool ends by itself after --max-requests.
    if member.intent is not None or (member.slot.retiring and os.waitstatus_to_exitcode(status) == 0):
        return Judgement(Verdict.STOPPED, "left as asked")
    return _exited(death)


_SILENT = {Intent.HANG: Verdict.HANG, Intent.BOOT_HANG: Verdict.BOOT_HANG}


def _silent(death: Death, intent: Intent) -> Judgement:
    stage, silent_s = death.state.stage.name.lower(), death.member.silent_s
    if intent is Intent.BOOT_HANG:
        seen = f"it was in stage {stage} for {silent_s:.1f} s, longer than it may take to start"
        return Judgement(
            _SILENT[intent], f"did not get ready: it hung while {_DOING.get(stage, stage)}", evidence=(seen,)
        )
    seen = f"its event loop gave no sign for {silent_s:.1f} s, longer than it may be silent"
    return Judgement(_SILENT[intent], f"hung for {silent_s:.1f} s and was ended", evidence=(seen,))


_DOING = {"forked": "its process started", "importing": "importing the application", "lifespan": "in its lifespan"}


def _by_signal(death: Death, number: int) -> Judgement:
    member, name = death.member, ending(death.status)["signal"]
    if member.doomed is not None:  # it was asked to leave, and did not
        seen = f"it was asked to leave ({member.intent}), and was still there {member.silent_s:.1f} s later"
        hurried = member.quick or not member.ready
        verdict = Verdict.STOPPED if hurried else Verdict.HANG
        return Judgement(verdict, "did not leave when it was asked to, and was killed", evidence=(seen,))
    if member.intent is not None and number == signal.SIGTERM:
        return Judgement(Verdict.STOPPED, "left as asked")
    if number in _NATIVE:
        seen = f"{name} ended it: " + (
            "abort() or a fatal error of the interpreter" if number == signal.SIGABRT else "a fault of native code"
        )
        return Judgement(Verdict.NATIVE_CRASH, f"crashed ({name})", evidence=(f"{seen}; the pool has not sent it",))
    return Judgement(Verdict.KILLED, f"was ended by {name}", evidence=(f"{name} ended it; the pool has not sent it",))


def _exited(death: Death) -> Judgement:
    code, stage = os.waitstatus_to_exitcode(death.status), death.state.stage.name.lower()
    if death.member.ready:
        evidence = (f"it called exit with code {code} while nobody wanted it to end",)
        return Judgement(Verdict.EXITED, f"left by itself with code {code}", evidence=evidence)
    why = f"it ended with code {code} in stage {stage}, before it was ready"
    last = cause(death.written)
    known = code == ExitCode.NEVER_READY and last
    said = f"could not start: {last}" if known else f"ended with code {code} before it was ready"
    return Judgement(Verdict.BOOT_FAILED, said, evidence=(why,))
