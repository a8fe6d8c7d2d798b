"""Is the lock refused, or asked for again, where a MariaDB server cannot give it?"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from launcher.errors import LockLost, UsageError
from launcher.locks import LockCrowded, LockUnreachable
from support.mariadb import CLERK, PASSWORD, MariaDB, running_mariadb
from support.mysql_locks import DRIVERS, Contenders, contenders, taken
from support.mysql_proxy import mysql_proxy
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launcher.locks.mysql import MysqlLock

GALERA = Path("/usr/lib/galera/libgalera_smm.so")  # comes with Debian's mariadb-server


@pytest.fixture
def contender() -> Iterator[Contenders]:
    """Make contenders in this process: `contender(url)`."""
    with contenders() as made:
        yield made


@pytest.fixture
def ten_connections(mariadb: MariaDB) -> Iterator[list[Any]]:
    """Let the server have ten connections, the least it can; those a test opens itself are closed afterwards."""
    mariadb.url("orders")
    [(usual,)] = mariadb.ask("SELECT @@max_connections")
    opened: list[Any] = []
    mariadb.ask("SET GLOBAL max_connections = 10")
    yield opened
    for connection in opened:
        with contextlib.suppress(pymysql.Error):
            connection.close()
    mariadb.ask("SET GLOBAL max_connections = %s", usual)


def clerk(mariadb: MariaDB) -> Any:
    """Open one of the application's connections."""
    return pymysql.connect(host="127.0.0.1", port=mariadb.port, user=CLERK, password=PASSWORD)


@pytest.mark.parametrize("driver", DRIVERS)
def test_crowded_server(mariadb: MariaDB, ten_connections: list[Any], contender: Contenders, driver: str) -> None:
    """Without a free connection another try is worth it; with few of them the waiter gives its own back."""
    url = mariadb.clerks_url("orders", driver)
    held = contender(url).try_acquire()
    assert held is not None
    with contextlib.suppress(pymysql.OperationalError):
        while True:
            ten_connections.append(clerk(mariadb))
    waiter = contender(url)
    with pytest.raises(LockCrowded):
        waiter.try_acquire()
    usual = waiter.poll_s
    for _ in range(2):
        ten_connections.pop().close()
    until(lambda: _tried(waiter), "a connection for the waiter")
    crowded = waiter.poll_s

    assert crowded > usual
    ours = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = 'orders'"
    until(lambda: mariadb.ask(ours) == [(1,)], "the waiter's session to end, and only the holder's to be there")
    while ten_connections:
        ten_connections.pop().close()
    held.release()
    until(lambda: _tried(waiter), "a connection")
    assert waiter.poll_s == usual


def _tried(waiter: MysqlLock) -> bool:
    try:
        waiter.try_acquire()
    except LockCrowded:  # the server has not noticed yet that a connection was closed
        return False
    return True


def test_crowded_user(mariadb: MariaDB, contender: Contenders) -> None:
    """The connections of a user with a number of its own are counted too."""
    mariadb.url("orders")
    mariadb.ask("CREATE OR REPLACE USER few@'127.0.0.1' IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 3")
    mariadb.ask("GRANT ALL ON orders.* TO few@'127.0.0.1'")
    url = f"mysql+pymysql://few:x@127.0.0.1:{mariadb.port}/orders"
    held, waiter = contender(url).try_acquire(), contender(url)
    assert held is not None
    usual = waiter.poll_s

    assert waiter.try_acquire() is None
    assert waiter.poll_s > usual
    sessions = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'few'"
    until(lambda: mariadb.ask(sessions) == [(1,)], "the waiter's session to end")


@pytest.mark.parametrize("driver", DRIVERS)
def test_wrong_password(mariadb: MariaDB, contender: Contenders, driver: str) -> None:
    """A password that is not right is told, and not tried again; its text is nowhere."""
    mariadb.url("orders")

    with pytest.raises(UsageError, match="Access denied") as caught:
        contender(mariadb.clerks_url("orders", driver, "wr0ng/pa:ss")).try_acquire()
    assert "wr0ng" not in f"{caught.value} {caught.value.cure} {caught.value.detail}"


def test_nobody_answers(contender: Contenders) -> None:
    """A server that is not there yet is worth another try."""
    with pytest.raises(LockUnreachable):
        contender(f"mysql+pymysql://root@127.0.0.1:{free_port()}/orders").try_acquire()


def test_url_without_a_database(mariadb: MariaDB, contender: Contenders) -> None:
    """The records need a database."""
    with pytest.raises(UsageError, match="names no database"):
        contender(f"mysql+pymysql://root@127.0.0.1:{mariadb.port}/")


@pytest.fixture
def read_only(mariadb: MariaDB) -> Iterator[Callable[[], None]]:
    """Make the server read-only, as a replica is; until the end of the test."""

    def become() -> None:
        mariadb.ask("SET GLOBAL read_only = 1")

    yield become
    mariadb.ask("SET GLOBAL read_only = 0")


def test_replica_is_refused(mariadb: MariaDB, read_only: Callable[[], None], contender: Contenders) -> None:
    """In a server that is read-only nobody gets a lock."""
    url = mariadb.url("orders")
    read_only()

    with pytest.raises(UsageError, match="read-only") as caught:
        contender(url).try_acquire()
    assert caught.value.cure


def test_primary_becomes_a_replica(mariadb: MariaDB, read_only: Callable[[], None], contender: Contenders) -> None:
    """A fail-over that ends no session takes the lock from its holder and gives it to no waiter."""
    url = mariadb.url("orders")
    lock, waiter = contender(url), contender(url)
    held = lock.try_acquire()
    assert held is not None
    assert not taken(waiter)
    read_only()

    with pytest.raises(LockLost):
        held.confirm()
    with pytest.raises(LockLost):
        held.release()
    with pytest.raises(LockUnreachable, match="read-only"):
        waiter.try_acquire()


def test_galera_is_refused(contender: Contenders) -> None:
    """The nodes of a Galera cluster do not know each other's locks."""
    assert GALERA.exists(), "apt-get install galera-4"
    network = f"gmcast.listen_addr=tcp://127.0.0.1:{free_port()};ist.recv_addr=127.0.0.1:{free_port()}"
    options = ["--wsrep-on=ON", f"--wsrep-provider={GALERA}", f"--wsrep-provider-options={network}"]
    options += ["--wsrep-cluster-address=gcomm://", "--wsrep-node-address=127.0.0.1", "--binlog-format=ROW"]
    with running_mariadb(*options, "--innodb-autoinc-lock-mode=2") as server:
        url = server.url("orders")

        with pytest.raises(UsageError, match="Galera") as caught:
            contender(url).try_acquire()
        assert caught.value.cure


@pytest.mark.parametrize("shared", [False, True])
def test_proxy_is_refused(mariadb: MariaDB, contender: Contenders, *, shared: bool) -> None:
    """Where the session has another number than it was told, somebody is between; nothing is locked through it."""
    url = mariadb.url("orders")
    with mysql_proxy(mariadb.port, shared=shared) as proxy:
        with pytest.raises(UsageError, match="pooler or proxy") as caught:
            contender(url.replace(str(mariadb.port), str(proxy.port))).try_acquire()
        assert "pooled=session" in str(caught.value.cure)


def test_proxy_with_sessions_of_their_own(mariadb: MariaDB, contender: Contenders) -> None:
    """With the word of the user that it pools whole sessions, a proxy is no obstacle, nor for exclusion."""
    url = mariadb.url("orders")
    with mysql_proxy(mariadb.port, shared=False) as proxy:
        pooled = url.replace(str(mariadb.port), str(proxy.port)) + "?pooled=session"
        lock = contender(pooled)
        held = lock.try_acquire()
        assert held is not None

        assert not taken(contender(pooled))
        assert not taken(contender(url))
        held.release()
        assert taken(contender(url))


def test_proxy_that_shares_sessions(mariadb: MariaDB, contender: Contenders) -> None:
    """The word that whole sessions are pooled is tried out: through this proxy two of them would have the lock."""
    url = mariadb.url("orders")
    with (
        mysql_proxy(mariadb.port, shared=True) as proxy,
        pytest.raises(UsageError, match="share one connection") as caught,
    ):
        contender(url.replace(str(mariadb.port), str(proxy.port)) + "?pooled=session").try_acquire()

    assert caught.value.cure
