"""Is a real MariaDB server spoken to in the same way through each driver?"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.databases import CannotAsk, DatabaseUnreachable, Denied, Refused, TableMissing, ask
from launcher.databases.session import Session, open_session
from support.mariadb import MariaDB, running_mariadb
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DRIVERS = ["pymysql", "mysqldb", "aiomysql", "asyncmy"]
each_driver = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture
def connect() -> Iterator[Callable[[str], Session]]:
    """Open a session to keep; it is closed after the test."""
    sessions: list[Session] = []

    def opened(url: str) -> Session:
        sessions.append(open_session(url, connect_timeout_s=5, application="asgi-launcher test"))
        return sessions[-1]

    yield opened
    for session in sessions:
        session.close()


@each_driver
def test_session(mariadb: MariaDB, connect: Callable[[str], Session], driver: str) -> None:
    """It is one session, known by the server's number, in autocommit and utf8mb4, whatever the URL says of that."""
    session = connect(mariadb.url("drivers", driver) + "?charset=latin1")
    text = 'it\'s "a" \\ 100 % ☃ 😀'

    assert [(session.told_id,)] == session.execute("SELECT CONNECTION_ID()")
    assert [(text, "%", None, 3)] == session.execute("SELECT %s, '%%', %s, %s", text, None, 3)
    assert [("%s",)] == session.execute("SELECT '%s'")
    assert [] == session.execute("CREATE TABLE t (a TEXT CHARACTER SET utf8mb4, b VARBINARY(9))")
    assert [] == session.execute("INSERT INTO t VALUES (%s, 'x')", text)
    assert [(text, b"x")] == list(mariadb.ask("SELECT a, b FROM drivers.t"))
    assert [(text, b"x")] == session.execute("SELECT a, b FROM t")


@each_driver
def test_question(mariadb: MariaDB, driver: str) -> None:
    """One question is answered and leaves no session behind; a table that is not there is told apart."""
    url = mariadb.url("drivers", driver)

    assert [(1, "2")] == ask(url, "SELECT 1, '2'", connect_timeout_s=5)
    with pytest.raises(TableMissing):
        ask(url, "SELECT version_num FROM alembic_version", connect_timeout_s=5)
    until(lambda: [] == mariadb.ask("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = 'drivers'"), "the end")


@each_driver
def test_refusals(mariadb: MariaDB, connect: Callable[[str], Session], driver: str) -> None:
    """What is wrong is told by its kind, with the server's number."""
    url = mariadb.url("drivers", driver)
    session = connect(mariadb.clerks_url("drivers", driver))
    with pytest.raises(Refused) as no_right:
        session.execute("FLUSH STATUS")
    with pytest.raises(Denied) as no_password:
        connect(mariadb.clerks_url("drivers", driver, "wr0ng"))
    with pytest.raises(DatabaseUnreachable) as no_database:
        connect(url.replace("/drivers", "/nothing"))
    with pytest.raises(DatabaseUnreachable) as nobody:
        connect(url.replace(str(mariadb.port), str(free_port())))
    with pytest.raises(CannotAsk):
        connect(url + "?nonsense=1")

    assert (1227, 1045, 1049) == (no_right.value.code, no_password.value.code, no_database.value.code)
    assert "wr0ng" not in str(no_password.value)
    assert not isinstance(nobody.value, CannotAsk | Denied)
    assert [(1,)] == session.execute("SELECT 1")


@each_driver
def test_end_by_the_server(mariadb: MariaDB, connect: Callable[[str], Session], driver: str) -> None:
    """When the server ends the session its descriptor is readable, and no new session takes its place."""
    session = connect(mariadb.url("drivers", driver))
    descriptor = session.fileno()
    assert descriptor is not None
    assert not os.get_inheritable(descriptor)
    assert ([], [], []) == select.select([descriptor], [], [], 0)
    mariadb.ask("KILL %s", session.told_id)

    assert [descriptor] == select.select([descriptor], [], [], 5)[0]
    for _ in range(2):
        with pytest.raises(DatabaseUnreachable):
            session.execute("SELECT 1")


@each_driver
def test_end_by_another_thread(mariadb: MariaDB, connect: Callable[[str], Session], driver: str) -> None:
    """Closing ends a question that another thread waits with, and the session."""
    session = connect(mariadb.url("drivers", driver))
    errors: list[Exception] = []

    def wait() -> None:
        try:
            session.execute("SELECT SLEEP(30)")
        except DatabaseUnreachable as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    sleeping = "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = 'drivers' AND STATE = 'User sleep'"
    until(lambda: mariadb.ask(sleeping), "the question to be asked")
    session.close()
    thread.join(10)

    assert not thread.is_alive()
    assert len(errors) == 1
    assert session.fileno() is None


@pytest.fixture(scope="module")
def with_tls() -> Iterator[tuple[MariaDB, Path]]:
    """Run a server with a certificate of its own making, for 127.0.0.1; and where the certificate is."""
    with tempfile.TemporaryDirectory(prefix="launcher-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # another user's server reads it; pytest shuts its own folders whenever it starts
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(make, check=True, capture_output=True)
        key.chmod(0o644)
        with running_mariadb(f"--ssl-cert={certificate}", f"--ssl-key={key}") as server:
            yield server, certificate


@each_driver
def test_tls(with_tls: tuple[MariaDB, Path], connect: Callable[[str], Session], driver: str) -> None:
    """SQLAlchemy's options for TLS are understood: with an authority the server is checked."""
    server, certificate = with_tls
    url = server.url("drivers", driver) + f"?ssl_ca={certificate}"

    assert connect(url).execute("SHOW STATUS LIKE 'Ssl_cipher'")[0][1]
    with pytest.raises(DatabaseUnreachable):
        connect(url.replace("127.0.0.1", "localhost") + "&ssl_check_hostname=true")


@each_driver
@pytest.mark.parametrize("options", ["", "?ssl_ca={}"])
def test_closing_waits_for_nobody(
    with_tls: tuple[MariaDB, Path], connect: Callable[[str], Session], driver: str, options: str
) -> None:
    """With a server that does not answer any more, closing returns at once, with TLS too."""
    server, certificate = with_tls
    session = connect(server.url("drivers", driver) + options.format(certificate))
    server.send_signal(signal.SIGSTOP)
    started_s = time.monotonic()
    try:
        session.close()
    finally:
        server.send_signal(signal.SIGCONT)

    assert time.monotonic() - started_s < 4  # the connection's own patience is 5 s
    assert session.fileno() is None


@each_driver
def test_warnings_stay_on_the_server(mariadb: MariaDB, connect: Callable[[str], Session], driver: str) -> None:
    """Nothing is printed for a table that is there already, once the session has asked for silence."""
    session = connect(mariadb.url("drivers", driver))
    session.execute("SET SESSION sql_notes = 0, max_error_count = 0")
    results: list[Any] = [session.execute("CREATE TABLE IF NOT EXISTS t (a INT)") for _ in range(2)]
    results.append(session.execute("SELECT CAST('1x' AS SIGNED)"))

    assert [[], [], [(1,)]] == results
