"""How does one uvicorn process do without a supervisor?

With `--server uvicorn` and one worker there is nobody to watch it or to start it again: whoever started us does that.
The rest is as in the pool: exit codes, draining, what systemd and the monitor get to know, orphans as PID 1.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from launcher.errors import ExitCode
from launcher.scoreboard import BoardState, Stage
from launcher.serving.crossed import Crossed
from launcher.serving.incidents import Incidents
from launcher.serving.kept_monitor import KeptMonitor
from launcher.serving.log_lines import reopen_files
from launcher.serving.metrics_files import metrics_folder, wipe
from launcher.serving.orphans import Orphans
from launcher.serving.pool.voice import Voice
from launcher.serving.uvicorn.own_end import reported
from launcher.serving.workers.pulse import Pulse
from launcher.serving.workers.server import PoolServer

if TYPE_CHECKING:
    from uvicorn.config import Config

_EVERY_S = 1.0  # what is done less often than ten times a second


class Alone(PoolServer):
    """The server, with a slot of its own on the scoreboard."""

    def __init__(self, config: Config, crossed: Crossed, monitor: KeptMonitor) -> None:
        """Serve for nobody's pool."""
        super().__init__(config, None, crossed.rules)
        self._notifier, self._monitor = crossed.notifier, monitor
        self._voice = Voice(monitor.channel)
        self._orphans = Orphans()
        self._stopping = False
        self._due = 0.0
        board = monitor.board
        board.arbiter_pid, board.wanted, board.generation = os.getpid(), 1, 1
        board.heartbeat = float("inf")  # nothing turns while the application is imported: that has a probe of its own
        self.noted_in = self.slot = board.slot(0)
        self.slot.clear(generation=1, number=1)
        self.slot.pid = os.getpid()
        self.slot.stage = Stage.IMPORTING
        self._pulse = Pulse(self.slot)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        self.slot.stage = Stage.LIFESPAN
        await super().startup(sockets)
        if self.started:
            self.slot.stage, self._monitor.board.state = Stage.READY, BoardState.SERVING
            self._notifier.ready("ready")
            took_s = round(time.monotonic() - self.slot.forked_at, 3)
            self._voice.say("launcher.worker_ready", pid=os.getpid(), slot=0, boot_s=took_s)

    async def on_tick(self, counter: int) -> bool:
        """Do what is done ten times a second."""
        over = await super().on_tick(counter)
        if (over or self.leaving) and not self._stopping:
            self._stopping = True
            self._monitor.board.state = BoardState.DRAINING
            self._notifier.stopping()
            self._voice.say("launcher.pool_draining", because="asked", delay_s=self.rules.drain_delay_s)
        if (now := time.monotonic()) >= self._due:
            self._due = now + _EVERY_S
            self._now_and_then(now)
        return over

    def _now_and_then(self, now: float) -> None:
        self._monitor.board.heartbeat = now
        self._notifier.watchdog()
        self._orphans.look()
        keeper, channel = self._monitor.keeper, self._monitor.channel
        if keeper is not None and keeper.pid is not None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(keeper.pid, os.WNOHANG)
                self._monitor.ended(pid, status)
        self._monitor.look()
        self._due = now + min(_EVERY_S, self._monitor.due_in_s())
        for message in channel.receive() if channel is not None else ():
            self._asked(message)

    def _asked(self, message: Mapping[str, Any]) -> None:
        channel = self._monitor.channel
        if channel is None or "ask" not in message:
            return
        code, because = ExitCode.USAGE, "one uvicorn process has no pool: stop it, and start it again"
        if message["ask"] == "stop":
            signal.raise_signal(signal.SIGQUIT if message.get("quick") else signal.SIGTERM)
            code, because = ExitCode.OK, ""
        channel.send({"answer": message.get("id"), "code": int(code), "because": because})


def serve_alone(config: Config, sockets: list[socket.socket], crossed: Crossed) -> ExitCode:
    """Serve until the end; return the exit code."""
    if metrics := metrics_folder():
        wipe(metrics)
    signal.signal(signal.SIGUSR1, lambda *_: reopen_files())
    monitor = KeptMonitor(crossed.monitor)
    try:
        server = Alone(config, crossed, monitor)
        with reported(Incidents(crossed.incidents, monitor.channel), server.slot):
            server.run(sockets)
            if not server.started:
                sys.exit(ExitCode.NEVER_READY)
    finally:
        monitor.end()
    return ExitCode.OK
