"""What does a forked worker do before gunicorn's worker class has it?

In gunicorn's `post_fork`, before the user's: the first moment in the child that gunicorn documents.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.scoreboard import Slot, Stage
from launcher.serving import metrics_files
from launcher.serving.evidence import Evidence
from launcher.serving.workers import life
from launcher.serving.workers.last_log import remember
from launcher.serving.workers.life import Life

if TYPE_CHECKING:
    from launcher.serving.gunicorn.arbiter import LauncherArbiter

_ADOPTION_S = 5.0  # it takes a millisecond; an arbiter that is gone is noticed by `Life.begin`


@dataclass(frozen=True, slots=True)
class Child:
    """The worker that is being forked."""

    arbiter: LauncherArbiter
    slot: Slot
    evidence: Evidence

    def begin(self) -> None:
        """Become a worker of the pool."""
        arbiter = self.arbiter
        _wait_for_parent(arbiter.pid)
        self.slot.pid = os.getpid()
        Life(self.slot, self.evidence, arbiter.pid, arbiter.lifeline, arbiter.loop.pool.rules).begin()
        arbiter.close_in_child()
        remember(self.slot)
        metrics_files.use_slot(self.slot.index)


def _wait_for_parent(pid: int) -> None:
    """Wait until the process between a template and us has ended, and our parent is the arbiter."""
    deadline = time.monotonic() + _ADOPTION_S
    while os.getppid() != pid and time.monotonic() < deadline:
        time.sleep(0.001)


def adopt(worker: Any) -> None:
    """Let a worker class that knows nothing of the pool (in `post_worker_init`) tell what it can: ready, and alive."""
    mine = life.current
    if mine is None or mine.slot.stage > Stage.IMPORTING or getattr(worker, "knows_the_pool", False):
        return
    notify = worker.notify

    def alive() -> None:
        mine.slot.beat(0.0, worker.nr)
        notify()

    worker.notify = alive
    mine.ready()
