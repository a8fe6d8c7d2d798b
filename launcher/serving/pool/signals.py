"""What does each signal ask of the pool?

The same under both servers, which call `handle_<name>` for a signal that came.
"""

from __future__ import annotations

import sys

from launcher.serving.pool.loop import Loop


class PoolSignals:
    """Comes before a server's own class in the order of calls."""

    loop: Loop

    def handle_term(self) -> None:
        """Drain and end."""
        self.loop.pool.stop("SIGTERM")

    def handle_int(self) -> None:
        """End: somebody at a terminal waits for no drain delay."""
        self.loop.pool.stop("SIGINT", delayed=sys.stdin is None or not sys.stdin.isatty())

    def handle_quit(self) -> None:
        """End at once."""
        self.loop.pool.stop("SIGQUIT", quick=True)

    def handle_hup(self) -> None:
        """Reload, one worker after the other."""
        self.loop.pool.reload()

    def handle_ttin(self) -> None:
        """One worker more."""
        self.loop.pool.scale(self.loop.pool.wanted + 1)

    def handle_ttou(self) -> None:
        """One worker less."""
        self.loop.pool.scale(self.loop.pool.wanted - 1)
