"""How does a test speak to `worker_driver`, and to the workers that it starts?"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from support import worker_driver
from support.waiting import free_port, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.spawning import Spawner

KINDS = ("uvicorn", "gunicorn", "asgi")


class Workers:
    """A driver that runs, and its workers."""

    def __init__(self, spawn: Spawner, cwd: Path, kind: str, **asked: Any) -> None:
        self.port = free_port()
        self._open: list[Any] = []
        read, self._write = os.pipe()
        words = json.dumps({"kind": kind, "port": self.port} | asked)
        try:
            self.driver: Launched = spawn([sys.executable, worker_driver.__file__, words], cwd=cwd, stdin=read)
        finally:
            os.close(read)

    def tell(self, word: str, slot: int = 0) -> None:
        """Ask the driver for something."""
        os.write(self._write, f"{word} {slot}\n".encode())

    def start(self, slot: int = 0) -> None:
        """Start a worker and wait until it is ready."""
        self.tell("start", slot)
        self.wait_stage("READY", slot)

    def wait_stage(self, stage: str, slot: int = 0) -> None:
        """Wait until a worker is that far."""
        until(lambda: self.look(slot)["stage"] == stage, f"the stage {stage}: {self.driver}", 20)

    def look(self, slot: int = 0) -> dict[str, Any]:
        """Return what is in a worker's slot."""
        seen = len(self._events("looked", slot))
        self.tell("look", slot)
        found: list[dict[str, Any]] = until(lambda: self._events("looked", slot)[seen:], "the slot", 20)
        return found[0]

    def ended(self, slot: int = 0, nth: int = 0, timeout_s: float = 20) -> dict[str, Any]:
        """Wait for the nth end of a worker in this slot; return code, last stage and evidence."""
        until(lambda: len(self._events("ended", slot)) > nth, f"the end: {self.driver}", timeout_s)
        return self._events("ended", slot)[nth]

    def close(self) -> None:
        """Have the driver end, and with it its workers."""
        os.close(self._write)
        for client in self._open:
            client.close()
        self.driver.wait()

    def connect(self) -> socket.socket:
        """Return a connection to the workers' socket; `close` closes it."""
        self._open.append(socket.create_connection(("127.0.0.1", self.port), 20))
        client: socket.socket = self._open[-1]
        return client

    def http(self) -> http.client.HTTPConnection:
        """Return a connection that is kept alive; `close` closes it."""
        self._open.append(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20))
        client: http.client.HTTPConnection = self._open[-1]
        return client

    def _events(self, name: str, slot: int) -> list[dict[str, Any]]:
        lines = [line for line in self.driver.stdout.split("\n")[:-1] if line.startswith("{")]
        records = [json.loads(line) for line in lines]
        return [record for record in records if record["event"] == name and record["slot"] == slot]
