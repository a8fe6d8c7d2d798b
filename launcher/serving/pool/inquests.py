"""What follows from the death of a worker?

It is judged, counted, and told, in this order; most deaths at once, those by SIGKILL when it is known whose it was.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import TYPE_CHECKING

from launcher.serving.pool.deaths import Death, Judgement, Verdict, judge
from launcher.serving.pool.killings import Killings
from launcher.serving.pool.members import Intent
from launcher.serving.pool.obituaries import Obituaries

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool

_WANTED = frozenset({Intent.STOP, Intent.SCALE, Intent.RELOAD, Intent.RECYCLE})


@dataclasses.dataclass(slots=True)
class Inquests:
    """Those under way."""

    obituaries: Obituaries
    killings: Killings

    @property
    def open(self) -> bool:
        """Whether a death is not judged yet: what follows from it for the others is not known."""
        return self.killings.open

    @property
    def busy(self) -> bool:
        """Whether `look` has something to do in a moment."""
        return self.killings.busy

    def take(self, pool: Pool, death: Death) -> None:
        """Take note of a worker that was reaped."""
        judgement = judge(death)
        if judgement is None:
            self.killings.take(death)
            self.look(pool)
        else:
            judgement = dataclasses.replace(judgement, kills=self.killings.counter.kills)
            self._close(pool, death, judgement, explained=judgement.verdict is Verdict.HANG)

    def other(self, pid: int, status: int) -> None:
        """Take note of a child that was reaped and was no worker."""
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self.killings.other(pid)

    def look(self, pool: Pool) -> None:
        """Close what can be closed by now."""
        judged, stranger = self.killings.look(pool.now)
        for number, (death, judgement) in enumerate(judged):
            before, after = judgement.kills or (0, 0)
            self._close(pool, death, judgement, explained=number < after - before)
        if stranger is not None:
            self.obituaries.stranger(stranger)

    def _close(self, pool: Pool, death: Death, judgement: Judgement, *, explained: bool) -> None:
        """Count it and tell it. explained: no reason to give up."""
        member, verdict, now = death.member, judgement.verdict, death.at
        if verdict is Verdict.STOPPED or (verdict is Verdict.HANG and member.intent in _WANTED):
            self.obituaries.stopped(death, judgement)
            return
        pool.board.restarts += 1
        if verdict is Verdict.OOM and pool.pilot is not None:
            pool.pilot.killed_for_memory(pool)
        if not member.ready:
            self.obituaries.boot_failed(death, judgement, pool.restarts.boot_failed(now))
            return
        if verdict is Verdict.OOM and explained:
            pool.restarts.killed_for_memory(now)
        elif not explained:
            pool.restarts.died(now)
        self.obituaries.lost(death, judgement, pool.restarts.recent_deaths(now))
