"""How does one uvicorn process do without a supervisor?

With `--server uvicorn` and one worker there is nobody to watch it or to start it again: whoever started us does that.
The rest is as in the pool: exit codes, draining, what systemd gets to know, orphans as PID 1.
"""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.config import Config


from launcher.errors import ExitCode
from launcher.serving.crossed import Crossed
from launcher.serving.log_lines import reopen_files
from launcher.serving.metrics_files import metrics_folder, wipe
from launcher.serving.orphans import Orphans
from launcher.serving.workers.server import PoolServer


class Alone(PoolServer):
    """The server, which tells systemd itself."""

    def __init__(self, config: Config, crossed: Crossed) -> None:
        """Serve for nobody's pool."""
        super().__init__(config, None, crossed.rules)
        self._notifier = crossed.notifier
        self._orphans = Orphans()
        self._stopping = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._notifier.ready("ready")

    async def on_tick(self, counter: int) -> bool:
        """Do what is done ten times a second."""
        over = await super().on_tick(counter)
        self._notifier.watchdog()
        self._orphans.look()
        if (over or self.leaving) and not self._stopping:
            self._stopping = True
            self._notifier.stopping()
        return over


def serve_alone(config: Config, sockets: list[socket.socket], crossed: Crossed) -> ExitCode:
    """Serve until the end; return the exit code."""
    if metrics := metrics_folder():
        wipe(metrics)
    signal.signal(signal.SIGUSR1, lambda *_: reopen_files())
    server = Alone(config, crossed)
    server.run(sockets)
    return ExitCode.OK if server.started else ExitCode.NEVER_READY
