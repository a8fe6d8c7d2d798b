"""What is said about a worker that died?

Once, with all that is known: in the log, and in a report. An application that fails the same way again and again is
shown once, and has a report now and then, which says how many there were.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.errors import ExitCode
from launcher.serving.pool.deaths import Death, Judgement, Verdict, ending
from launcher.serving.pool.killings import Stranger
from launcher.serving.pool.members import Intent
from launcher.serving.pool.restarts import GivingUp
from launcher.serving.pool.voice import Voice

_OOM_LOOP, _OOM_WINDOW_S = 3, 600.0  # kills within it that are said to be a loop
_SAME_EVERY_S = 600.0  # a report of boots that fail alike: the folder's hundred are for others, too
_ADDRESS = re.compile(r"0x[0-9a-f]+")  # what differs between processes that fail alike
_SHOWN_LOG = 5  # lines of a dead worker's own log
_RECENT = 10  # deaths that the report of the pool's end names


@dataclass(slots=True)
class Alike:
    """Boots that failed alike, those without a report of their own.

    key: what is the same. first: the id of the report of the first, told at `at` (monotonic). report: of the latest.
    """

    key: tuple[object, ...] = ()
    first: str = ""
    at: float = 0.0
    count: int = 0
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Obituaries:
    """Says who died of what."""

    voice: Voice
    _shown_error: str = ""
    _alike: Alike = field(default_factory=Alike)
    _ooms: deque[float] = field(default_factory=deque)
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _last_written: str = ""

    def became_ready(self) -> None:
        """Show the next failure to boot, whatever it is: the application worked in between."""
        self._shown_error = ""
        self.tell_alike()
        self._alike = Alike()

    def stopped(self, death: Death, judgement: Judgement) -> None:
        """One that the pool wanted to end, or that left by itself because it was to be replaced."""
        member = death.member
        because = member.because or str(member.intent or Intent.RECYCLE)
        how = {"pid": member.pid, **ending(death.status), "because": because}
        if member.doomed is None:
            self.voice.say("launcher.worker_stopped", **how)
            return
        told = {} if judgement.verdict is Verdict.STOPPED else self._reported(death, judgement)
        self.voice.warn("launcher.worker_killed", **how, **told, stack=death.written)

    def lost(self, death: Death, judgement: Judgement, deaths: int) -> None:
        """One that was ready, and that nobody wanted to end. deaths: within the window, this one too."""
        state = death.state
        facts: dict[str, object] = {
            "pid": death.member.pid,
            "verdict": str(judgement.verdict),
            **self._reported(death, judgement, restarts_in_window=deaths),
            **ending(death.status),
            "stage": state.stage.name.lower(),
            "age_s": round(death.at - death.member.started, 1),
            "in_flight": [f"{one.method} {one.path}".strip() for one in state.in_flight],
            "last_log": list(state.last_log[-_SHOWN_LOG:]),
        }
        self.voice.warn("launcher.worker_died", **facts, **({"stack": death.written} if death.written else {}))
        if judgement.verdict is Verdict.OOM:
            self._count_oom(death.at)

    def boot_failed(self, death: Death, judgement: Judgement, again_in_s: float) -> None:
        """One that never became ready."""
        error = _ADDRESS.sub("0x", death.written)
        same = bool(error) and error == self._shown_error
        self._shown_error = error or self._shown_error
        self._last_written = death.written
        name = "exception" if "code" in ending(death.status) else "stack"
        shown: dict[str, object] = {"same_as_before": True} if same else {name: death.written} if death.written else {}
        self.voice.warn(
            "launcher.worker_boot_failed",
            pid=death.member.pid,
            verdict=str(judgement.verdict),
            **self._boot_reported(death, judgement, (judgement.verdict, death.how, error)),
            **ending(death.status),
            stage=death.state.stage.name.lower(),
            again_in_s=round(again_in_s, 1),
            **shown,
        )

    def could_not_start(self, because: str, exception: str, again_in_s: float) -> None:
        """Nobody was born: the system would not, or what workers are started from cannot be had."""
        last = exception.strip().rpartition("\n")[2]
        self._recent.append(f"{because}: {last}" if last else because)
        self._last_written = exception or because
        facts = {"exception": exception} if exception else {}
        self.voice.warn("launcher.worker_not_started", because=because, again_in_s=round(again_in_s, 1), **facts)

    def stranger(self, one: Stranger) -> None:
        """The kernel has killed somebody for memory, and it was no worker."""
        who = "a process" if one.count == 1 else f"{one.count} processes"
        report = self.voice.report(
            "oom-kill",
            f"{who} beside the workers {'was' if one.count == 1 else 'were'} killed by the kernel for memory",
            verdict=str(Verdict.OOM),
            evidence=one.evidence,
            memory=_counters(one.kills),
        )
        facts = {"kills": one.count, "evidence": list(one.evidence), **({"report": report} if report else {})}
        self.voice.warn("launcher.oom_kill_noticed", **facts)

    def gave_up(self, end: GivingUp) -> None:
        """The pool ends by itself."""
        self.tell_alike()
        kind = "start-failed" if end.code is ExitCode.NEVER_READY else "crash-loop"
        title = f"{end.because}: {self._recent[-1]}" if kind == "start-failed" and self._recent else end.because
        facts = {"exit_code": int(end.code), "evidence": list(self._recent), "stacks": self._last_written}
        report = self.voice.report(kind, title, **facts)
        told = {"report": report} if report else {}
        self.voice.warn("launcher.pool_gave_up", because=end.because, code=int(end.code), **told)

    def tell_alike(self) -> None:
        """Report the boots that failed alike and have no report yet."""
        if self._alike.count:
            self.voice.report(**self._alike.report, merged=self._alike.count - 1)
            self._alike.count = 0

    def _boot_reported(self, death: Death, judgement: Judgement, key: tuple[object, ...]) -> dict[str, object]:
        alike = self._alike
        report = _report(death, judgement)
        self._recent.append(report["title"])
        told = {"confidence": judgement.confidence, "evidence": list(judgement.evidence)}
        if key != alike.key:
            self.tell_alike()
            self._alike = Alike(key, self.voice.report(**report), death.at)
        else:
            alike.count, alike.report = alike.count + 1, report
            if death.at - alike.at >= _SAME_EVERY_S:
                alike.at = death.at
                self.tell_alike()
        return {**told, **({"report": self._alike.first} if self._alike.first else {})}

    def _reported(self, death: Death, judgement: Judgement, **facts: Any) -> dict[str, object]:
        """Send the report; return what the log says of it."""
        report = _report(death, judgement)
        number = self.voice.report(**report, **facts)
        self._recent.append(report["title"])
        self._last_written = death.written
        told: dict[str, object] = {"confidence": judgement.confidence, "evidence": list(judgement.evidence)}
        return {**told, **({"report": number} if number else {})}

    def _count_oom(self, now: float) -> None:
        self._ooms.append(now)
        while now - self._ooms[0] > _OOM_WINDOW_S:
            self._ooms.popleft()
        if len(self._ooms) >= _OOM_LOOP:
            kills, cure = len(self._ooms), "fewer --workers, or more memory"
            self._ooms.clear()
            self.voice.warn("launcher.oom_loop", kills=kills, within_s=_OOM_WINDOW_S, cure=cure)


def _report(death: Death, judgement: Judgement) -> dict[str, Any]:
    """Return what the report of a death says: arguments of `Voice.report`."""
    member, state = death.member, death.state
    return {
        "kind": "crash" if member.ready else "boot-failed",
        "title": f"worker {member.pid} {judgement.said}",
        "verdict": str(judgement.verdict),
        "confidence": judgement.confidence,
        "evidence": judgement.evidence,
        "pid": member.pid,
        "slot": member.slot.index,
        "generation": member.generation,
        "number": member.number,
        "stage": state.stage.name.lower(),
        "age_s": round(death.at - member.started, 3),
        "wait_status": ending(death.status),
        "in_flight": [
            {"method": one.method, "path": one.path, "age_s": round(one.age_s, 3)} for one in state.in_flight
        ],
        "more_in_flight": max(0, state.more_requests) + max(0, state.more_websockets),
        "memory": _counters(judgement.kills),
        "stacks": death.written,
        "last_log": list(state.last_log),
    }


def _counters(kills: tuple[int, int] | None) -> dict[str, Any]:
    return {"counters": {"oom_kill": None if kills is None else list(kills)}}
