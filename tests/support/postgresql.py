"""Where does a test get a real PostgreSQL server?"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL = "apt-get install postgresql"
_PROGRAMS = "/usr/lib/postgresql/*/bin/postgres"  # Debian's place; elsewhere it is on PATH
NO_DURABILITY = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A running server that trusts its superuser `postgres` on loopback."""

    port: int
    log_path: Path

    def url(self, database: str, driver: str = "") -> str:
        """Return the URL of a new, empty database of this name; `driver` as in SQLAlchemy's `postgresql+driver`."""
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", database):
            raise ValueError(f"{database!r} is no plain database name")
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {database}".encode())
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommit connection; psycopg.OperationalError when there is no server (yet)."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5
        )


@contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """Run a server in a folder of its own for the length of the block; fail the test when there is none installed."""
    binaries = programs()
    # Not below pytest's folder, which only its own user may enter: a server refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="launcher-postgresql-"))
    try:
        yield from _serve(binaries, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(binaries: Path, folder: Path) -> Iterator[PostgreSQL]:
    who = account(folder)
    data = create_cluster(binaries, folder, who)
    server = PostgreSQL(free_port(), folder / "log")
    serve: list[str | Path] = [binaries / "postgres", "-D", data, "-p", str(server.port), "-k", folder]
    serve += ["-c", "listen_addresses=127.0.0.1", *NO_DURABILITY]
    with server.log_path.open("wb") as log:
        process: subprocess.Popen[bytes] = subprocess.Popen(serve, cwd=folder, stdout=log, stderr=log, **who)
    try:
        until(lambda: process.poll() is not None or _answers(server), "PostgreSQL to answer", 30)
        assert process.poll() is None, f"PostgreSQL did not start:\n{server.log_path.read_text()}"
        yield server
    finally:
        _stop(process)


def create_cluster(binaries: Path, folder: Path, who: dict[str, Any]) -> Path:
    """Make an empty data folder below `folder`, as the account `who`, and return it."""
    data = folder / "data"
    create: list[str | Path] = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
    create += ["-E", "UTF8", "--no-locale", "-N"]
    subprocess.run(create, check=True, capture_output=True, cwd=folder, **who)
    return data


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # fast shutdown: disconnects clients (manual, "Shutting Down the Server")
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def programs() -> Path:
    """Return the folder of the server's binaries; fail the test when there is none.

    POSTGRESQL_BIN names another version's than the newest installed.
    """
    if asked := os.environ.get("POSTGRESQL_BIN"):
        return Path(asked)
    found = sorted(Path("/").glob(_PROGRAMS.lstrip("/")), key=lambda path: int(re.sub(r"\D", "", path.parts[4]) or 0))
    on_path = shutil.which("postgres")
    if not found and not on_path:
        pytest.fail(f"no PostgreSQL server on this machine: {INSTALL}", pytrace=False)
    return (found[-1] if found else Path(str(on_path))).parent


def account(folder: Path) -> dict[str, Any]:
    """Return who runs the server, as arguments for subprocess, and give this account the folder."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _answers(server: PostgreSQL) -> bool:
    try:
        server.connect().close()
    except psycopg.OperationalError:
        return False
    return True
