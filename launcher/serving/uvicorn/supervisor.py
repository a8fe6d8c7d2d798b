"""What does uvicorn's supervisor do for the pool?

It starts workers and collects the dead; what happens when is the pool's to decide. uvicorn's own loop polls each half
second, waits seconds for a worker that holds the GIL, and joins without bound: this one never waits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING

from uvicorn.supervisors import Multiprocess

from launcher.errors import ExitCode
from launcher.scoreboard import Slot, Stage
from launcher.serving.crossed import Crossed
from launcher.serving.evidence import Evidence
from launcher.serving.log_lines import reopen_files
from launcher.serving.pool.loop import Loop, make_loop
from launcher.serving.pool.members import Members
from launcher.serving.pool.signals import PoolSignals
from launcher.serving.uvicorn.forked import Fork, be_forked, can_fork
from launcher.serving.uvicorn.spawned import Crossing, SpawnedWorker

if TYPE_CHECKING:
    from uvicorn.config import Config

_log = logging.getLogger("uvicorn.error")


class Supervisor(PoolSignals, Multiprocess):
    """uvicorn's supervisor, with the launcher's pool."""

    loop: Loop

    def __init__(self, config: Config, sockets: list[socket.socket], crossed: Crossed) -> None:
        """Take the signals."""
        super().__init__(config, sockets)
        self.crossed = crossed
        self.workers: dict[int, SpawnedWorker] = {}  # those that were not forked
        self._forks, self._pid = can_fork(config), os.getpid()
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the loop

    def serve(self) -> ExitCode:
        """Keep the workers until the end; return the exit code."""
        tls = [str(path) for path in (self.config.ssl_certfile, self.config.ssl_keyfile) if path]
        self.loop = make_loop(self.crossed, self.crossed.rules, self, tls)
        if self._forks:
            be_forked()
        try:
            self.loop.turn()
            while self.loop.pool.outcome is None:
                self.loop.wait()
                self.handle_signals()
                self.reap()
                self.loop.turn()
        finally:
            if os.getpid() == self._pid:  # a forked worker leaves through here
                self.loop.monitor.end()
        return self.loop.pool.outcome

    def reap(self) -> None:
        """Collect every child that ended: as PID 1 those of others too."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid in self.workers:
                    self._ended(found.si_pid)
                else:
                    self.loop.died(*os.waitpid(found.si_pid, os.WNOHANG))
        for pid in [pid for pid, worker in self.workers.items() if worker.exitcode is not None]:
            self._ended(pid)  # multiprocessing has collected it: it does so whenever it starts a process

    def _ended(self, pid: int) -> None:
        worker = self.workers.pop(pid)
        worker.process.join()  # it has ended already; multiprocessing keeps books of its own
        self.loop.died(pid, _wait_status(worker.exitcode or 0))
        worker.process.close()

    # Signals.

    def handle_usr1(self) -> None:
        """Open the log files again, here and in the workers."""
        reopen_files()
        for member in self.loop.pool.members:
            if member.stage > Stage.FORKED:  # before, it has no handler
                self.send(member.pid, signal.SIGUSR1)

    def handle_usr2(self) -> None:
        """Refuse, as under gunicorn."""
        _log.warning("USR2 refused: it would start new code without its pre-start steps; start another launcher")

    # What the pool asks for (launcher.serving.pool.hands.Hands).

    def start_worker(self, slot: Slot, evidence: Evidence, generation: int) -> int:  # noqa: ARG002 - the pool's signature
        """Start a worker; in one that is forked this does not return."""
        if self._forks:
            return Fork(self.config, self.sockets, self.loop.pool.rules, self._let_go).start(slot, evidence)
        board = self.loop.pool.board.fd
        crossing = Crossing(board, slot.index, evidence.fd, os.getpid(), self.loop.pool.rules)
        worker = SpawnedWorker(self.config, self.sockets, crossing)
        worker.start()
        pid = worker.pid or 0
        self.workers[pid] = worker
        return pid

    def _let_go(self) -> None:
        """In a forked worker: close what is the supervisor's alone."""
        self.loop.alarm.forget()
        self.loop.monitor.close_in_child()
        for member in self.loop.pool.members:
            member.evidence.close()
        self.loop.pool.members = Members()

    def can_start(self) -> bool:
        """Nothing is prepared before the workers."""
        return True

    def send(self, pid: int, number: int) -> None:
        """Send a signal to a worker."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def stop_listening(self) -> None:
        """Close our listeners."""
        for listener in self.sockets:
            listener.close()

    def load_new(self) -> None:
        """Nothing to read: uvicorn's configuration is its command line."""

    def new_is_ready(self) -> bool:
        """Nothing is prepared before the workers."""
        return True

    def keep_new(self) -> None:
        """Nothing was kept of the old."""

    def keep_old(self) -> None:
        """Nothing was changed."""

    def resized(self, wanted: int) -> None:
        """Let uvicorn know the number."""
        self.processes_num = wanted

    def copy_bytes(self) -> int:
        """Nothing is held but by workers."""
        return 0


def _wait_status(exitcode: int) -> int:
    """Return what os.waitpid would have: multiprocessing has a signal as a negative number."""
    return -exitcode if exitcode < 0 else exitcode << 8
