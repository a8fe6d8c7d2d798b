"""Where does a test get a real PgBouncer before a PostgreSQL server?"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psycopg
import pytest

from support.postgresql import account
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL = "apt-get install pgbouncer"
PoolMode = Literal["session", "transaction", "statement"]


class PgBouncer:
    """A running pooler that trusts everybody on loopback and knows the users it was started with."""

    def __init__(self, port: int, server_port: int) -> None:
        """Remember where it listens, and before which server it stands."""
        self.port, self._server_port = port, server_port

    def pooled(self, url: str) -> str:
        """Return the URL with the pooler's address instead of the server's."""
        return url.replace(f":{self._server_port}/", f":{self.port}/")


@contextmanager
def running_pgbouncer(
    server_port: int, mode: PoolMode, *settings: str, users: tuple[str, ...] = ("postgres",)
) -> Iterator[PgBouncer]:
    """Run PgBouncer for the length of the block; `settings` are lines of its configuration."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.fail(f"no PgBouncer on this machine: {INSTALL}", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="launcher-pgbouncer-"))
    try:
        yield from _serve(program, folder, server_port, (f"pool_mode = {mode}", *settings), users)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(
    program: str, folder: Path, server_port: int, settings: tuple[str, ...], users: tuple[str, ...]
) -> Iterator[PgBouncer]:
    who = account(folder)  # it refuses to run as root
    port = free_port()
    (folder / "users.txt").write_text("".join(f'"{user}" ""\n' for user in users))
    lines = ["[databases]", f"* = host=127.0.0.1 port={server_port}", "[pgbouncer]", "listen_addr = 127.0.0.1"]
    lines += [f"listen_port = {port}", "unix_socket_dir =", "auth_type = trust", f"auth_file = {folder}/users.txt"]
    (folder / "pgbouncer.ini").write_text("\n".join([*lines, *settings]) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "pgbouncer.ini"], cwd=folder, stdout=log, stderr=log, **who)
    try:
        until(lambda: process.poll() is not None or _answers(port, users[0]), "PgBouncer to answer", 30)
        assert process.poll() is None, f"PgBouncer did not start:\n{(folder / 'log').read_text()}"
        yield PgBouncer(port, server_port)
    finally:
        process.send_signal(signal.SIGTERM)  # at once, clients or not (man pgbouncer, "Signals")
        process.wait(20)


def _answers(port: int, user: str) -> bool:
    try:
        psycopg.connect(host="127.0.0.1", port=port, user=user, dbname="postgres", connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
