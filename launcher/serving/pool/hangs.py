"""Which worker hangs, and how is it ended?

Each part of a worker's life has its own clock: import, lifespan, event loop, shutdown. A worker that is only busy is
left alone: while it boots, and while it leaves, the event loop's clock does not count. First it is asked for the stacks
of its asyncio tasks, which takes a living interpreter; SIGABRT lets faulthandler write those of its threads even while
the GIL is held; then SIGKILL.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from launcher.scoreboard import Stage
from launcher.serving.pool.members import Intent, Member
from launcher.serving.rules import Rules
from launcher.serving.workers.life import STACKS

QUICK_S = 2.0  # for a worker that has to leave at once; gunicorn's figure for QUIT during a stop
# A graceful timeout of 0 is no time, not for ever. A worker looks at `asked` ten times a second, and one that is idle
# has left by then.
LEAST_S = 0.5
_BLOWS = ((0.0, STACKS), (0.5, signal.SIGABRT), (2.5, signal.SIGKILL))  # seconds after the first
_LATE_S = 2.0  # our own loop was not scheduled for so long: then nobody's heartbeat means anything


@dataclass(slots=True)
class Hangs:
    """The clocks of all workers. They start anew when our own loop was asleep (a frozen group, a suspended host)."""

    rules: Rules
    awake: float = float("-inf")  # since when we have been looking without a gap
    _looked: float | None = None

    def look(self, now: float, expected_s: float) -> None:
        """Note that the loop turns; `expected_s` is how long it meant to sleep."""
        if self._looked is not None and now - self._looked > expected_s + _LATE_S:
            self.awake = now
        self._looked = now

    def hanging(self, member: Member, now: float) -> tuple[Intent, float] | None:
        """Return what it is to be killed for, and for how many seconds it has been silent."""
        slot, stage = member.slot, member.stage
        if member.leaving is not None:
            limit = QUICK_S if member.quick else max(self.rules.graceful_timeout_s, LEAST_S)
            return self._over(member.intent or Intent.STOP, member.leaving, limit, now)
        if stage in {Stage.FORKED, Stage.IMPORTING, Stage.LIFESPAN}:
            since = slot.forked_at if stage == Stage.FORKED else slot.stage_since
            return self._over(Intent.BOOT_HANG, since, self.rules.startup_timeout_s, now)
        return self._over(Intent.HANG, max(slot.heartbeat, slot.stage_since), self.rules.worker_timeout_s, now)

    # A limit of 0 is none: `worker_timeout_s` and `startup_timeout_s`.
    def _over(self, intent: Intent, since: float, limit_s: float, now: float) -> tuple[Intent, float] | None:
        silent = now - max(since, self.awake)
        return (intent, silent) if limit_s and silent > limit_s else None


def strike(member: Member, now: float, send: Callable[[int, int], None]) -> None:
    """Go on with killing a worker; call it again and again. `send(pid, signal)` sends."""
    if member.doomed is None:
        member.doomed = now
    while member.blow < len(_BLOWS) and now - member.doomed >= _BLOWS[member.blow][0]:
        number = _BLOWS[member.blow][1]
        member.blow += 1
        if number != STACKS or member.stage > Stage.FORKED:  # before, it has no handler, and would only die of it
            send(member.pid, number)


def was_killed_by_us(member: Member) -> bool:
    """Tell whether it has got our SIGKILL: of one that dies of another before, nobody knows whose it was."""
    return member.blow >= len(_BLOWS)
