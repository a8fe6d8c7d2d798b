"""What does a forked worker do before gunicorn's worker class has it?

In gunicorn's `post_fork`, before the user's: the first moment in the child that gunicorn documents.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.errors import ExitCode
from launcher.kernel import die_with_parent
from launcher.scoreboard import Slot, Stage
from launcher.serving import metrics_files
from launcher.serving.evidence import Evidence
from launcher.serving.workers import life
from launcher.serving.workers.last_log import remember
from launcher.serving.workers.life import Life

if TYPE_CHECKING:
    from launcher.serving.gunicorn.arbiter import LauncherArbiter

_CLAIM_S = 10.0  # it takes milliseconds, unless the arbiter has stopped to wait for us


@dataclass(frozen=True, slots=True)
class Child:
    """The worker that is being forked. `release`: lets go of what is its template's, when it has one."""

    arbiter: LauncherArbiter
    slot: Slot
    evidence: Evidence
    release: Callable[[], None] | None = None

    def begin(self) -> None:
        """Become a worker of the pool."""
        arbiter = self.arbiter
        if self.release is not None:
            _wait_for_claim(self.slot, arbiter.pid)
        Life(self.slot, self.evidence, arbiter.pid, arbiter.lifeline, arbiter.loop.pool.rules).begin()
        if self.release is not None:
            self.release()
        arbiter.close_in_child()
        remember(self.slot)
        metrics_files.use_slot(self.slot.index)


def _wait_for_claim(slot: Slot, arbiter_pid: int) -> None:
    """Wait until the arbiter is our parent and has given us the slot; one that no longer waits for us never will."""
    me, between, deadline = os.getpid(), os.getppid(), time.monotonic() + _CLAIM_S
    while (parent := os.getppid()) != arbiter_pid or slot.pid != me:
        if parent not in {between, arbiter_pid} or time.monotonic() >= deadline:
            os._exit(ExitCode.OK)
        time.sleep(0.001)


def adopt(worker: Any) -> None:
    """Let a worker class that knows nothing of the pool (in `post_worker_init`) tell what it can: ready, and alive.

    It is ready when it notifies gunicorn for the first time: from a loop that runs, and so after the lifespan. By now
    it has changed the user and set its own handlers, which takes away what `Life.begin` did.
    """
    import faulthandler

    mine = life.current
    if mine is None or mine.slot.stage > Stage.IMPORTING or getattr(worker, "knows_the_pool", False):
        return
    die_with_parent()
    if mine.orphaned:
        os._exit(ExitCode.BUG)
    faulthandler.disable()  # alone, a second enable() would not take SIGABRT back
    faulthandler.enable(file=mine.evidence.fd, all_threads=True)
    mine.slot.stage = Stage.LIFESPAN
    notify = worker.notify

    def alive() -> None:
        notify()
        if not worker.booted:
            return
        if mine.slot.stage < Stage.READY:
            mine.ready()
        mine.slot.beat(0.0, worker.nr)
        if mine.orphaned:
            os.kill(os.getpid(), signal.SIGTERM)

    worker.notify = alive


def ended_by_itself(worker: Any, slot: Slot, status: int) -> bool:
    """Tell whether a worker that knows nothing of the pool has ended as it should after `max_requests`."""
    foreign = not getattr(worker, "knows_the_pool", False)
    return bool(foreign and status == 0 and worker.cfg.max_requests and slot.stage >= Stage.READY)
