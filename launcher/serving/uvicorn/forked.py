"""How does a worker come out of uvicorn's supervisor by a fork?

The supervisor has imported what every worker needs, runs no loop, no threads, and knows nothing of the application: a
child that goes on from there saves the start of an interpreter. The reasons: docs/decisions/0014-workers-are-forked.md.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from uvicorn.supervisors.multiprocess import SIGNALS

from launcher.serving import metrics_files
from launcher.serving.evidence import Evidence
from launcher.serving.log_lines import reopen_files
from launcher.serving.workers.last_log import remember
from launcher.serving.workers.life import GUARDED, Life
from launcher.serving.workers.server import PoolServer

if TYPE_CHECKING:
    import socket

    from uvicorn.config import Config

    from launcher.scoreboard import Slot
    from launcher.serving.rules import Rules

# The supervisor's handlers, of which nothing is left in a program that is started anew.
_NOT_OURS = tuple(number for number in (*SIGNALS, signal.SIGCHLD) if number not in {*GUARDED, signal.SIGUSR1})


def can_fork(config: Config) -> bool:
    """Tell whether a child of this process is sound.

    Not on macOS, whose system libraries do not bear it (bpo-33725); not with threads, of which only ours would be left.
    And not with a logging configuration of the user's (a file; ours is a dict): it may have imported the application,
    which a reload could then not import anew.
    """
    return sys.platform != "darwin" and isinstance(config.log_config, dict) and threading.active_count() == 1


def be_forked() -> None:
    """Get ready for forks.

    A collector that looks at what is here copies all of it into the child that it runs in: 3 MB a worker, measured.
    """
    if sys.platform == "linux":
        import ctypes  # noqa: F401 - launcher.kernel's, in every worker's first moment: 1 ms here, 5 in a child
    gc.freeze()


@dataclass(frozen=True, slots=True)
class Fork:
    """What every worker goes on from. let_go: closes what is the supervisor's alone."""

    config: Config
    sockets: list[socket.socket]
    rules: Rules
    let_go: Callable[[], None]

    def start(self, slot: Slot, evidence: Evidence) -> int:
        """Return the worker's pid; in the worker this ends, and the interpreter, by SystemExit. Raises OSError."""
        supervisor = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # or both processes would write what waits in it
        pid = os.fork()
        if not pid:
            self._work(Life(slot, evidence, supervisor, None, self.rules))
        return pid

    def _work(self, life: Life) -> NoReturn:
        try:
            signal.signal(signal.SIGUSR1, lambda *_: reopen_files())
            life.begin()
            for number in _NOT_OURS:
                signal.signal(number, signal.SIG_DFL)
            self.let_go()
            remember(life.slot)
            metrics_files.use_slot(life.slot.index)
            PoolServer(self.config, life, self.rules).run(self.sockets)
        except Exception:  # noqa: BLE001 - as multiprocessing has it; nothing may come back to the supervisor's loop
            traceback.print_exc()
            sys.exit(1)
        sys.exit(0)
