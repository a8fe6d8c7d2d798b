"""What of the monitor came across the exec, and who keeps it now?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from launcher.channel import Channel
from launcher.instances import remove
from launcher.monitoring import Keeper
from launcher.scoreboard import Board

channel: Channel | None = None  # of this process's KeptMonitor, for its last word


class KeptMonitor:
    """The server's side. Without a monitor there is a scoreboard of our own, and nobody to speak to.

    board, channel, keeper: as `launcher.boot.watched_start` made them; the last two may be None.
    """

    def __init__(self, crossed: Mapping[str, Any]) -> None:
        """Take over what `Crossed.monitor` names: from now on no program of the application's inherits it."""
        global channel  # noqa: PLW0603 - a process has one monitor; at the very end nothing else is left to ask
        self.channel: Channel | None = None
        self.keeper: Keeper | None = None
        self._address = ""
        if not crossed:
            self.board = Board.create()
            return
        self.board = Board.open(crossed["plan"]["board"])
        self.channel = channel = Channel(crossed["channel"])
        self.keeper = Keeper(crossed["plan"], os.environ, pid=crossed["pid"])
        self._address = crossed["plan"]["socket"]
        for fd in self.descriptors():
            os.set_inheritable(fd, False)  # noqa: FBT003 - os's signature

    def descriptors(self) -> list[int]:
        """Return what a forked worker has no business with."""
        if self.keeper is None or self.channel is None:
            return []
        return [*self.keeper.descriptors(), self.channel.fileno()]

    def close_in_child(self) -> None:
        """In a forked worker: let go of all but the scoreboard."""
        for fd in self.descriptors():
            if fd != self.board.fd:
                os.close(fd)

    def due_in_s(self) -> float:
        """Return in how many seconds `look` has something to do."""
        due = self.keeper.due_in_s if self.keeper is not None else None
        return float("inf") if due is None else due

    def look(self) -> None:
        """Start it again if it has died."""
        if self.keeper is not None:
            self.keeper.look()

    def ended(self, pid: int, status: int) -> None:
        """Take note of a child that was reaped."""
        if self.keeper is not None:
            self.keeper.ended(pid, status)

    def watched(self) -> tuple[int, ...]:
        """Return the descriptor that can be read when something is asked; of a closed channel that would be always."""
        return () if self.channel is None or self.channel.gone else (self.channel.fileno(),)

    def end(self) -> None:
        """The server ends: remove the file of the management socket."""
        if self._address:
            remove(self._address)
