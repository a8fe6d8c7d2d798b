"""What is said about a worker that died?

Once, with all that is known; an application that fails the same way again and again is shown once.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from launcher.scoreboard import SlotState
from launcher.serving.pool.deaths import Verdict, ending
from launcher.serving.pool.members import Intent, Member
from launcher.serving.pool.voice import Voice

_OOM_LOOP, _OOM_WINDOW_S = 3, 600.0  # kills within it that are said to be a loop
_ADDRESS = re.compile(r"0x[0-9a-f]+")  # what differs between processes that fail alike
_SHOWN_LOG = 5  # lines of a dead worker's own log


@dataclass(slots=True)
class Obituaries:
    """Says who died of what."""

    voice: Voice
    _shown_error: str = ""
    _ooms: deque[float] = field(default_factory=deque)

    def became_ready(self) -> None:
        """Show the next failure to boot, whatever it is: the application worked in between."""
        self._shown_error = ""

    def stopped(self, member: Member, status: int, written: str) -> None:
        """One that the pool wanted to end, or that left by itself because it was to be replaced."""
        how = {"pid": member.pid, **ending(status), "because": str(member.intent or Intent.RECYCLE)}
        if member.doomed is None:
            self.voice.say("launcher.worker_stopped", **how)
        else:
            self.voice.warn("launcher.worker_killed", **how, stack=written)

    def lost(self, member: Member, status: int, verdict: Verdict, state: SlotState, written: str, now: float) -> None:
        """One that was ready, and that nobody wanted to end."""
        facts: dict[str, object] = {
            "pid": member.pid,
            "verdict": str(verdict),
            **ending(status),
            "stage": state.stage.name.lower(),
            "age_s": round(now - member.started, 1),
            "in_flight": [f"{one.method} {one.path}".strip() for one in state.in_flight],
            "last_log": list(state.last_log[-_SHOWN_LOG:]),
        }
        self.voice.warn("launcher.worker_died", **facts, **({"stack": written} if written else {}))
        if verdict is Verdict.OOM:
            self._count_oom(now)

    def boot_failed(
        self, member: Member, status: int, verdict: Verdict, state: SlotState, written: str, again_in_s: float
    ) -> None:
        """One that never became ready."""
        error = _ADDRESS.sub("0x", written)
        same = bool(error) and error == self._shown_error
        self._shown_error = error or self._shown_error
        name = "exception" if "code" in ending(status) else "stack"
        facts: dict[str, object] = {"same_as_before": True} if same else {name: written} if written else {}
        self.voice.warn(
            "launcher.worker_boot_failed",
            pid=member.pid,
            verdict=str(verdict),
            **ending(status),
            stage=state.stage.name.lower(),
            again_in_s=round(again_in_s, 1),
            **facts,
        )

    def _count_oom(self, now: float) -> None:
        self._ooms.append(now)
        while now - self._ooms[0] > _OOM_WINDOW_S:
            self._ooms.popleft()
        if len(self._ooms) >= _OOM_LOOP:
            kills, cure = len(self._ooms), "fewer --workers, or more memory"
            self._ooms.clear()
            self.voice.warn("launcher.oom_loop", kills=kills, within_s=_OOM_WINDOW_S, cure=cure)
