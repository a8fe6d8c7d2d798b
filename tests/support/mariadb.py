"""Where does a test get a real MariaDB server?"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pymysql
import pytest

from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INSTALL = "apt-get install mariadb-server"
CLERK, PASSWORD = "clerk", "s3cret/pa:ss"  # may do everything in each database and nothing to the server
_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=OFF",
    # What is committed outlives the process (kill -9), not the machine.
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=16M",
    "--innodb-fast-shutdown=2",
)
_USERS = f"""\
CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';
GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS '{CLERK}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX ON *.* TO '{CLERK}'@'127.0.0.1';
"""


class MariaDB:
    """A server of the test's own: `root` needs no password on loopback, `clerk` needs one."""

    def __init__(self, program: Path, folder: Path, account: dict[str, Any], options: Sequence[str] = ()) -> None:
        """Use the data folder that `mariadb-install-db` has made in `folder`; runs after `start`, with `options`."""
        self.port, self.log_path = free_port(), folder / "log"
        self._program, self._folder, self._account, self._options = program, folder, account, options
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, driver: str = "pymysql", scheme: str = "mysql") -> str:
        """Return root's URL of a new, empty database of this name; `driver` as in SQLAlchemy's `mysql+driver`."""
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", database):
            raise ValueError(f"{database!r} is no plain database name")
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {database}")
            cursor.execute(f"CREATE DATABASE {database}")
        return f"{scheme}+{driver}://root@127.0.0.1:{self.port}/{database}"

    def clerks_url(self, database: str, driver: str = "pymysql", password: str = PASSWORD) -> str:
        """Return the URL of a database that is there, for the user with a password and without rights on the server."""
        return f"mysql+{driver}://{CLERK}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str | None = None) -> pymysql.Connection[Any]:
        """Return root's autocommit connection; pymysql.OperationalError when there is no server (yet)."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True, connect_timeout=5
        )

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of one statement by root, on a connection of its own."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command: list[str | Path] = [self._program, "--no-defaults", f"--datadir={self._folder / 'data'}"]
        command += [f"--port={self.port}", f"--socket={self._folder / 'socket'}", f"--pid-file={self._folder / 'pid'}"]
        command += [f"--tmpdir={self._folder}", f"--init-file={self._folder / 'users.sql'}", *_OPTIONS, *self._options]
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._account)
        self._process = process
        until(lambda: process.poll() is not None or self._answers(), "MariaDB to answer", 30)
        assert process.poll() is None, f"MariaDB did not start:\n{self.log_path.read_text()}"

    def stop(self, *, at_once: bool = False) -> None:
        """Shut down, or kill -9 `at_once`; nothing happens when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if at_once:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def send_signal(self, number: int) -> None:
        """Send the server a signal: STOP and CONT are the ones worth sending."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def restart(self, *, at_once: bool = False) -> None:
        """Stop and start again, with the same port and data."""
        self.stop(at_once=at_once)
        self.start()

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pymysql.OperationalError:
            return False
        return True


@contextmanager
def running_mariadb(*options: str) -> Iterator[MariaDB]:
    """Run a server in a folder of its own for the length of the block; fail the test when there is none installed."""
    install, program = _program("mariadb-install-db"), _program("mariadbd")
    # Not below pytest's folder, which only its own user may enter: a server refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="launcher-mariadb-"))
    try:
        account = _account(folder)
        (folder / "users.sql").write_text(_USERS)
        (folder / "users.sql").chmod(0o644)
        create: list[str | Path] = [install, "--no-defaults", f"--datadir={folder / 'data'}", "--skip-test-db"]
        create += ["--auth-root-authentication-method=normal", "--skip-name-resolve"]
        subprocess.run(create, check=True, capture_output=True, cwd=folder, **account)
        server = MariaDB(program, folder, account, options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> Path:
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail(f"no MariaDB server on this machine ({name}): {INSTALL}", pytrace=False)
    return Path(found)


def _account(folder: Path) -> dict[str, Any]:
    """Return who runs the server, as arguments for subprocess, and give this account the folder."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("mysql") or names["nobody"]
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
