"""How does the pool stop?

Readiness goes first; connections are accepted for the drain delay, because whoever sends traffic learns of it late;
then the listeners go, and every worker finishes what it has. A second signal ends the delay, a third the patience.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.errors import ExitCode
from launcher.incidents.outbox import DELIVERED_WITHIN_S, KEPT_WITHIN_S
from launcher.scoreboard import BoardState
from launcher.serving.pool.members import Intent
from launcher.serving.workers.haste import Asked

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool


@dataclass(slots=True)
class Stopping:
    """The end of the pool.

    until: end of the drain delay, monotonic.
    code: what the server exits with.
    asked: by whom; nobody, when the pool has given up.
    """

    until: float
    quick: bool = False
    code: ExitCode = ExitCode.OK
    leaving: bool = False
    asked: Asked = field(default_factory=Asked)
    _published: bool = False
    _gone_at: float | None = None  # since when there is no worker any more

    def step(self, pool: Pool, now: float) -> None:
        """Do what can be done now."""
        if not self._published:
            self._published = True
            pool.board.state = BoardState.DRAINING
        if not self.leaving and now >= self.until:
            self._leave(pool)
        if self.leaving and not len(pool.members) and self._told(pool, now):
            pool.board.state = BoardState.STOPPED
            pool.outcome = self.code

    def _told(self, pool: Pool, now: float) -> bool:
        """Tell whether all that died are judged, and the reports of them where they belong; not for long it is not."""
        if pool.inquests.busy:
            return False
        if self._gone_at is None:
            self._gone_at = now
            pool.obituaries.tell_alike()
        if (incidents := pool.voice.incidents) is None:
            return True
        waiting, patience_s = incidents.outbox.unkept, KEPT_WITHIN_S
        if self.code is not ExitCode.OK:  # nobody is in a hurry, and the plugins are to know
            waiting, patience_s = incidents.outbox.pending, DELIVERED_WITHIN_S
        if waiting and not self.quick and now - self._gone_at < patience_s:
            return False
        incidents.finish()
        return True

    def hasten(self, pool: Pool, now: float, because: str, *, quick: bool) -> None:
        """Somebody has lost patience: end the delay, or the grace when that is what we are in."""
        if self.asked.repeats(kind_of(because), now):
            return
        if quick or self.leaving:
            self.quick = True
        self.until = now
        if self.leaving:
            self._leave(pool)

    def _leave(self, pool: Pool) -> None:
        if not self.leaving:
            pool.voice.say("launcher.pool_stopping", workers=len(pool.members), quick=self.quick)
            pool.hands.stop_listening()
        self.leaving = True
        for member in pool.members:
            pool.ask_to_leave(member, Intent.STOP, quick=self.quick or not member.ready)


def kind_of(because: str) -> str:
    """Return what the wish to stop is the same as: `launcher stop` in ExecStop is followed by systemd's TERM."""
    return "SIGTERM" if because == "asked" else because
