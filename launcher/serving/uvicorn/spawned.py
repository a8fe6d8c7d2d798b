"""What runs in a worker process of uvicorn's supervisor where it is not forked?

uvicorn starts it anew (multiprocessing's spawn), so everything it needs crosses in this object: numbers of
descriptors, which multiprocessing duplicates for the child, and the pool's rules.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING, Any

from uvicorn.supervisors.multiprocess import Process

from launcher.scoreboard import Board
from launcher.serving import metrics_files
from launcher.serving.evidence import Evidence
from launcher.serving.log_lines import reopen_files
from launcher.serving.rules import Rules
from launcher.serving.workers.last_log import remember
from launcher.serving.workers.life import Life
from launcher.serving.workers.server import PoolServer

if TYPE_CHECKING:
    from uvicorn.config import Config


@dataclass(slots=True)
class Crossing:
    """What a worker needs of its supervisor. Descriptors are numbers in whichever process this is."""

    board: int
    slot: int
    evidence: int
    supervisor: int  # its pid
    rules: Rules

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross into a spawned process."""
        return _arrived, (DupFd(self.board), self.slot, DupFd(self.evidence), self.supervisor, self.rules)


def _arrived(board: Any, slot: int, evidence: Any, supervisor: int, rules: Rules) -> Crossing:
    ours = (board.detach(), evidence.detach())
    for fd in ours:
        os.set_inheritable(fd, False)  # noqa: FBT003 - os's signature; multiprocessing leaves them open to every program
    return Crossing(ours[0], slot, ours[1], supervisor, rules)


class SpawnedWorker(Process):
    """uvicorn's handle on a worker, without the thread that answers pings while the event loop hangs."""

    def __init__(self, config: Config, sockets: list[socket.socket], crossing: Crossing) -> None:
        """Make the process; `start` starts it."""
        self.crossing = crossing
        super().__init__(config, sockets)
        self.parent_conn.close()
        self.child_conn.close()

    def __getstate__(self) -> dict[str, Any]:
        """Cross without uvicorn's pipe, and without the handle on the process itself."""
        return {"config": self.config, "crossing": self.crossing}

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; called in the child."""
        crossing = self.crossing
        signal.signal(signal.SIGUSR1, lambda *_: reopen_files())
        slot = Board.open(crossing.board).slot(crossing.slot)
        slot.pid = os.getpid()
        parent = multiprocessing.parent_process()
        lifeline = parent.sentinel if parent is not None else None
        life = Life(slot, Evidence(crossing.evidence), crossing.supervisor, lifeline, crossing.rules)
        life.begin()
        remember(slot)
        metrics_files.use_slot(slot.index)
        PoolServer(self.config, life, crossing.rules).run(sockets)
