"""Where does a test get a PostgreSQL server that it may stop, restart and cut off?

The session's server (`support.postgresql`) is everybody's; this one belongs to one test. It is asked over its Unix
socket, which leads into a network namespace too.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from support.postgresql import NO_DURABILITY, account, create_cluster, programs
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.partition import Network

# The manual's "Shutting Down the Server": fast disconnects the clients, immediate is a crash.
Shutdown = Literal["fast", "immediate"]
_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class OwnPostgreSQL:
    """A server in a folder of its own, perhaps in a network of its own."""

    def __init__(self, folder: Path, network: Network | None = None, data: Path | None = None) -> None:
        """Make the data folder, unless there is one already; nothing runs before `start`."""
        self.folder, self.port = folder, free_port()
        self._binaries, self._who = programs(), account(folder)
        self._data = data or create_cluster(self._binaries, folder, self._who)
        self._network = network
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *settings: str) -> None:
        """Start the server (`name=value` settings beside the test's own) and wait until it answers."""
        words = ["listen_addresses=127.0.0.1", *settings]
        serve = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", str(self.folder)]
        serve += [*NO_DURABILITY, *(part for word in words for part in ("-c", word))]
        prefix, who = self._identity()
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen([*prefix, *serve], cwd=self.folder, stdout=log, stderr=log, **who)
        self._process = process
        until(lambda: process.poll() is not None or self._answers(), "the server to answer", 30)
        assert process.poll() is None, f"it did not start:\n{(self.folder / 'log').read_text()}"

    def _identity(self) -> tuple[Sequence[str], dict[str, Any]]:
        """Return how it becomes its user: only root may enter a network, so there the entering program changes it."""
        if self._network is None:
            return (), self._who
        return self._network.prefix(self._who.get("user"), self._who.get("group")), {}

    def stop(self, how: Shutdown = "fast") -> None:
        """Stop the server, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(_SIGNALS[how])
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, how: Shutdown) -> None:
        """Stop and start."""
        self.stop(how)
        self.start()

    def url(self, database: str, driver: str = "") -> str:
        """Return the URL of a new, empty database of this name, as `support.postgresql` does."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {database}".encode())
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommit connection over the Unix socket."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5
        )

    @contextmanager
    def standby(self) -> Iterator[OwnPostgreSQL]:
        """Make a hot standby of this server for the length of the block; it is not started yet."""
        folder = Path(tempfile.mkdtemp(prefix="launcher-standby-"))
        copied = folder / "data"
        words: list[str | Path] = [self._binaries / "pg_basebackup", "-h", self.folder, "-p", str(self.port)]
        words += ["-U", "postgres", "-D", copied, "-R", "-c", "fast"]
        subprocess.run(words, check=True, capture_output=True, cwd=folder, **account(folder))
        made = OwnPostgreSQL(folder, self._network, copied)
        try:
            yield made
        finally:
            made.remove()

    def replace(self, primary: OwnPostgreSQL) -> None:
        """Become the primary, at its address: it is gone at once, as a host is that lost its power."""
        primary.stop("immediate")
        self.stop("fast")
        self.port = primary.port
        self.start()
        with self.connect() as connection:
            connection.execute("SELECT pg_promote()")

    def remove(self) -> None:
        """Stop it at once and delete its folder."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def own_postgresql(*settings: str, network: Network | None = None) -> Iterator[OwnPostgreSQL]:
    """Run such a server for the length of the block."""
    server = OwnPostgreSQL(Path(tempfile.mkdtemp(prefix="launcher-own-postgresql-")), network)
    try:
        server.start(*settings)
        yield server
    finally:
        server.remove()
