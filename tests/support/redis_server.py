"""Where does a test get a real Redis server?"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL = "apt-get install redis-server"
# Every command at once in the file, as a server has it that must not forget what it has said.
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """A server of the test's own on loopback, with a socket in its folder too; runs after `start`."""

    def __init__(self, program: str, folder: Path, options: tuple[str, ...], password: str) -> None:
        """Keep nothing over a restart, unless the options say so."""
        self.port, self.log_path, self.socket_path = free_port(), folder / "log", folder / "socket"
        self._program, self._folder, self._options, self._password = program, folder, options, password
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0, password: str | None = None) -> str:
        """Return the URL of one of its 16 databases; `password` instead of the right one."""
        said = password if password is not None else self._password
        return f"redis://{f':{said}@' if said else ''}127.0.0.1:{self.port}/{database}"

    def connect(self, database: int = 0) -> redis.Redis:
        """Return a client; redis.ConnectionError when there is no server (yet)."""
        return redis.Redis(
            host="127.0.0.1", port=self.port, db=database, password=self._password or None, decode_responses=True
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        words = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        words += ["--unixsocket", str(self.socket_path), "--save", ""]
        words += ["--requirepass", self._password] if self._password else []
        with self.log_path.open("ab") as log:
            process = subprocess.Popen([*words, *self._options], cwd=self._folder, stdout=log, stderr=log)
        self._process = process
        until(lambda: process.poll() is not None or self._answers(), "Redis to answer", 30)
        assert process.poll() is None, f"Redis did not start:\n{self.log_path.read_text()}"

    def stop(self) -> None:
        """End the server at once: nothing is written any more."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def signal(self, signum: signal.Signals) -> None:
        """Send it a signal: STOP makes it a server that takes questions and does not answer."""
        assert self._process is not None, "it is not running"
        self._process.send_signal(signum)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        try:
            with self.connect() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def running_redis(*options: str, password: str = "") -> Iterator[RedisServer]:
    """Run a server in a folder of its own for the length of the block; fail the test when there is none installed."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail(f"no Redis server on this machine: {INSTALL}", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="launcher-redis-"))  # a socket's path must be short
    server = RedisServer(program, folder, options, password)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
