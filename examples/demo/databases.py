"""Which database is the demo played on? A PostgreSQL server of its own where one is installed, else a SQLite file."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN_PROGRAMS = "usr/lib/postgresql/*/bin/postgres"  # elsewhere it is on PATH
START_S = 30.0
# Thrown away in half a minute: nothing of it has to survive a power cut.
NO_DURABILITY = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


@dataclass(frozen=True, slots=True)
class Database:
    """`urls`: one empty database for each side. `name`: what the picture says."""

    name: str
    urls: tuple[str, str]


@contextmanager
def database(wanted: str) -> Iterator[Database]:
    """Give two empty databases for the length of the block; `wanted`: auto, postgresql or sqlite.

    RuntimeError when PostgreSQL was asked for and is not there, or does not start.
    """
    programs = _programs()
    missing = [
        what
        for what, there in (("no server installed", programs), ("no driver: pip install psycopg[binary]", _driver()))
        if not there
    ]
    if wanted == "postgresql" and missing:
        raise RuntimeError(f"PostgreSQL: {missing[0]}")
    folder = Path(tempfile.mkdtemp(prefix="launcher-demo-db-"))
    try:
        if programs is None or missing or wanted == "sqlite":
            yield Database("SQLite", (f"sqlite:///{folder}/launcher.db", f"sqlite:///{folder}/script.db"))
        else:
            with _server(programs, folder) as port:
                yield Database("PostgreSQL", (_create(port, "launcher"), _create(port, "script")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def count_orders(url: str) -> int:
    """Return the rows of the table that the migration fills."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    with create_engine(url, poolclass=NullPool).connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM orders")).scalar_one())


def _driver() -> bool:
    return importlib.util.find_spec("psycopg") is not None


def _programs() -> Path | None:
    found = sorted(Path("/").glob(DEBIAN_PROGRAMS), key=lambda path: int(re.sub(r"\D", "", path.parts[4]) or 0))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@contextmanager
def _server(programs: Path, folder: Path) -> Iterator[int]:
    """Run a server on loopback that trusts everybody; yields its port."""
    account, data, port = _account(folder), folder / "data", _free_port()
    create: list[str | Path] = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-locale",
        "-N",
    ]
    # A session of its own: ctrl-C on the terminal is ours to obey, after the replicas have gone.
    subprocess.run(create, check=True, capture_output=True, cwd=folder, start_new_session=True, **account)
    serve: list[str | Path] = [
        programs / "postgres",
        "-D",
        data,
        "-p",
        str(port),
        "-k",
        folder,
        "-c",
        "listen_addresses=127.0.0.1",
    ]
    with (folder / "log").open("wb") as log:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [*serve, *NO_DURABILITY], cwd=folder, stdout=log, stderr=log, start_new_session=True, **account
        )
    try:
        _wait_until_it_answers(process, port, folder / "log")
        yield port
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown: disconnects clients (manual, "Shutting Down the Server")
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _account(folder: Path) -> dict[str, Any]:
    """Return who runs the server, as arguments for subprocess: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(_url(port, "postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}") from None
            time.sleep(0.05)
        else:
            return


def _create(port: int, name: str) -> str:
    """Create a database; return its URL as SQLAlchemy spells it."""
    import psycopg

    with psycopg.connect(_url(port, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return _url(port, name, "postgresql+psycopg")


def _url(port: int, name: str, scheme: str = "postgresql") -> str:
    return f"{scheme}://postgres@127.0.0.1:{port}/{name}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
