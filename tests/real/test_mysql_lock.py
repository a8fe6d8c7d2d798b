"""Is the lock in a real MariaDB server the only one, and never for longer than its holder lives?"""

from __future__ import annotations

import contextlib
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from launcher.errors import LockLost, UsageError
from launcher.locks import LockContext, LockCrowded, LockUnreachable, Owner
from launcher.locks.mysql import MysqlLock
from support.mariadb import CLERK, PASSWORD, MariaDB, running_mariadb
from support.mysql_proxy import mysql_proxy
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.spawning import Spawner

DRIVERS = ["pymysql", "mysqldb", "aiomysql", "asyncmy"]
EXPIRY_S = 7.0  # the shortest that is allowed with the kill grace of 5 s
SLACK_S = 5.0  # this machine may be busy
GALERA = Path("/usr/lib/galera/libgalera_smm.so")  # comes with Debian's mariadb-server

COMMON = """
import os, random, sys, time
from pathlib import Path
from launcher.locks import LockContext, Owner
from launcher.locks.mysql import MysqlLock
scheme, _, where = sys.argv[1].partition(":")
owner = Owner(host="there", pid=os.getpid(), release=None)
lock = MysqlLock(LockContext(
    where=where, scheme=scheme, cwd=Path.cwd(), owner=owner, namespace="", expiry_s=float(sys.argv[2])
))
"""
HOLD = """
held = lock.try_acquire()
assert held is not None
held.say_step("seed")
print("held", flush=True)
while True:
    held.confirm()
    time.sleep(0.2)
"""
CONTEND = """
while (held := lock.try_acquire()) is None:
    time.sleep(random.uniform(*lock.poll_s))
record = lock.ledger.read("seed", "ever")
if record is None or record.state != "done":
    record = lock.ledger.begin("seed", "ever")
    print("began", flush=True)
    lock.execute("INSERT INTO runs VALUES (1)")
    time.sleep(0.3)
    held.confirm()
    assert lock.ledger.finish(record, "done", exit_code=0, tail="")
held.release()
"""


@pytest.fixture
def contender(tmp_path: Path) -> Iterator[Callable[..., MysqlLock]]:
    """Make a contender in this process: `contender(url)`; it is closed after the test."""
    made: list[MysqlLock] = []

    def make(url: str, namespace: str = "", **options: Any) -> MysqlLock:
        scheme, _, where = url.partition(":")
        owner = Owner(host="here", pid=len(made), release=None)
        context = LockContext(where=where, scheme=scheme, cwd=tmp_path, owner=owner, namespace=namespace, **options)
        made.append(MysqlLock(context))
        return made[-1]

    yield make
    for lock in made:
        lock.close()


def start(spawn: Spawner, program: str, url: str, expiry_s: float = EXPIRY_S) -> Any:
    """Start `HOLD` or `CONTEND`."""
    return spawn([sys.executable, "-W", "error", "-c", COMMON + program, url, str(expiry_s)])


def taken(lock: MysqlLock) -> bool:
    """Try; give it back when it was free."""
    held = lock.try_acquire()
    if held is not None:
        held.release()
    return held is not None


@pytest.mark.parametrize("driver", DRIVERS)
def test_contenders_run_a_step_once(mariadb: MariaDB, spawn: Spawner, driver: str) -> None:
    """Of eight processes that start together, half of them with another driver, one runs the step; all get through."""
    url = mariadb.url("orders", driver)
    mariadb.ask("CREATE TABLE orders.runs (number INT)")
    others = url.replace(f"+{driver}", "+pymysql").replace("mysql+", "mariadb+")
    processes = [start(spawn, CONTEND, each) for each in (url, others) * 4]
    for process in processes:
        assert process.wait(30) == 0, process.stderr

    assert [(1,)] == mariadb.ask("SELECT COUNT(*) FROM orders.runs")
    assert sum("began" in process.stdout for process in processes) == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_killed_holder_frees_it(
    mariadb: MariaDB, spawn: Spawner, contender: Callable[..., MysqlLock], driver: str
) -> None:
    """The lock of a process that was killed with -9 is free within a second."""
    url = mariadb.url("orders", driver)
    process = start(spawn, HOLD, url)
    until(lambda: "held" in process.stdout, "the holder to hold", 20)
    waiter = contender(url)
    assert not taken(waiter)
    process.popen.kill()
    killed_at_s = time.monotonic()
    until(lambda: taken(waiter), "the lock")

    assert time.monotonic() - killed_at_s < 1
    assert waiter.holder() is None  # whatever the note beside the records says


@pytest.mark.parametrize("driver", ["mysqldb", "asyncmy"])
def test_silent_holder_loses_it(
    mariadb: MariaDB, spawn: Spawner, contender: Callable[..., MysqlLock], driver: str
) -> None:
    """A holder that is stopped loses the lock after the expiry, by the server's clock, and ends when it goes on."""
    url = mariadb.url("orders", driver)
    process = start(spawn, HOLD, url)
    until(lambda: "held" in process.stdout, "the holder to hold", 20)
    waiter = contender(url)
    process.popen.send_signal(signal.SIGSTOP)
    stopped_at_s = time.monotonic()
    until(lambda: taken(waiter), "the lock", EXPIRY_S + SLACK_S)
    after_s = time.monotonic() - stopped_at_s
    process.popen.send_signal(signal.SIGCONT)

    assert EXPIRY_S - 1 <= after_s  # its last question was up to 0.2 s earlier, and the server counts whole seconds
    assert process.wait(10) == 1
    assert "LockLost" in process.stderr


def test_databases_have_locks_of_their_own(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
    """GET_LOCK is one for the whole server; still two databases do not block each other, nor know of their records."""
    first, second = contender(mariadb.url("orders")), contender(mariadb.url("invoices"))
    held, its = first.try_acquire(), second.try_acquire()
    assert held is not None
    assert its is not None
    first.ledger.begin("seed", "r1")
    held.say_step("seed")

    known = second.holder()

    assert [] == second.ledger.records()
    assert known is not None
    assert known.step == ""
    its.confirm()
    held.confirm()


@pytest.mark.parametrize(("one", "other"), [("pymysql", "aiomysql"), ("mysqldb", "asyncmy"), ("asyncmy", "pymysql")])
def test_drivers_exclude_each_other(
    mariadb: MariaDB, contender: Callable[..., MysqlLock], one: str, other: str
) -> None:
    """The lock is of the database, whichever driver, user and spelling of the URL lead there."""
    url = mariadb.url("orders", one)
    held = contender(url).try_acquire()
    assert held is not None
    waiter = contender(mariadb.clerks_url("orders", other).replace("mysql+", "mariadb+"))

    assert not taken(waiter)
    held.release()
    assert taken(waiter)


@pytest.mark.parametrize("driver", DRIVERS)
def test_loss_is_told_by_the_descriptor(mariadb: MariaDB, contender: Callable[..., MysqlLock], driver: str) -> None:
    """When the server ends the session, the descriptor is readable at once, and who asks is told that it is lost."""
    lock = contender(mariadb.url("orders", driver))
    held = lock.try_acquire()
    assert held is not None
    watched, number = held.watched(), lock.execute("SELECT CONNECTION_ID()")[0][0]
    assert watched is not None
    mariadb.ask("KILL %s", number)
    readable, _, _ = select.select([watched], [], [], SLACK_S)

    assert [watched] == readable
    with pytest.raises(LockLost):
        held.confirm()
    with pytest.raises(LockLost):
        lock.ledger.begin("seed", "r1")  # no new session behind the holder's back


def test_lock_that_was_given_back_is_lost(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
    """The session lives and the lock is gone (a pool's reset does that): the holder is told so."""
    lock = contender(mariadb.url("orders"))
    held = lock.try_acquire()
    assert held is not None
    lock.execute("SELECT RELEASE_ALL_LOCKS()")

    with pytest.raises(LockLost, match="not ours"):
        held.confirm()


@pytest.mark.parametrize("at_once", [False, True])
def test_server_that_restarts_has_no_locks(contender: Callable[..., MysqlLock], *, at_once: bool) -> None:
    """A restart takes the lock from its holder, who is told; the records stay, and the next one gets it."""
    with running_mariadb() as server:
        url = server.url("orders")
        lock, waiter = contender(url), contender(url)
        held = lock.try_acquire()
        assert held is not None
        lock.ledger.begin("seed", "r1")
        assert not taken(waiter)
        server.stop(at_once=at_once)
        with pytest.raises(LockUnreachable):
            waiter.try_acquire()
        server.start()

        with pytest.raises(LockLost):
            held.confirm()
        assert taken(waiter)
        assert ["running"] == [record.state for record in waiter.ledger.records()]


def test_old_owner_writes_nothing(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
    """An owner that was replaced cannot record its end, whatever it believes to hold."""
    url = mariadb.url("orders")
    first, second = contender(url), contender(url)
    old = first.ledger.begin("seed", "r1")
    new = second.ledger.begin("seed", "r1")

    assert not first.ledger.finish(old, "done", exit_code=0, tail="")
    assert second.ledger.finish(new, "failed", exit_code=3, tail="no room")
    assert [("failed", old.token + 1, 3)] == [(r.state, r.token, r.exit_code) for r in first.ledger.records()]


def test_waiters_keep_nothing_open(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
    """Between two tries a waiter's session sleeps, outside any transaction, under bounds of its own."""
    url = mariadb.url("orders")
    held = contender(url).try_acquire()
    assert held is not None
    waiter = contender(url)
    assert waiter.try_acquire() is None
    bounds = waiter.execute("SELECT @@wait_timeout, @@lock_wait_timeout, @@innodb_lock_wait_timeout, @@autocommit")

    assert [(30, 6, 6, 1)] == bounds
    assert waiter.warning is None
    assert [] == mariadb.ask("SELECT trx_id FROM information_schema.INNODB_TRX")
    commands = mariadb.ask("SELECT COMMAND FROM information_schema.PROCESSLIST WHERE DB = 'orders'")
    assert [("Sleep",), ("Sleep",)] == commands


def test_the_look_shows_the_holder(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
    """The query that is printed for people finds the holder's session; the lock's name is one that MySQL takes."""
    lock = contender(mariadb.url("orders"))
    held = lock.try_acquire()
    assert held is not None
    number = lock.execute("SELECT CONNECTION_ID()")[0][0]

    assert [number] == [row[0] for row in mariadb.ask(lock.look)]
    assert len(lock.name) <= 64
    assert lock.name == lock.name.lower()


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
def test_crowded_server(
    mariadb: MariaDB, ten_connections: list[Any], contender: Callable[..., MysqlLock], driver: str
) -> None:
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


def test_crowded_user(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
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
def test_wrong_password(mariadb: MariaDB, contender: Callable[..., MysqlLock], driver: str) -> None:
    """A password that is not right is told, and not tried again; its text is nowhere."""
    mariadb.url("orders")

    with pytest.raises(UsageError, match="Access denied") as caught:
        contender(mariadb.clerks_url("orders", driver, "wr0ng/pa:ss")).try_acquire()
    assert "wr0ng" not in f"{caught.value} {caught.value.cure} {caught.value.detail}"


def test_nobody_answers(contender: Callable[..., MysqlLock]) -> None:
    """A server that is not there yet is worth another try."""
    with pytest.raises(LockUnreachable):
        contender(f"mysql+pymysql://root@127.0.0.1:{free_port()}/orders").try_acquire()


def test_url_without_a_database(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
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


def test_replica_is_refused(
    mariadb: MariaDB, read_only: Callable[[], None], contender: Callable[..., MysqlLock]
) -> None:
    """In a server that is read-only nobody gets a lock."""
    url = mariadb.url("orders")
    read_only()

    with pytest.raises(UsageError, match="read-only") as caught:
        contender(url).try_acquire()
    assert caught.value.cure


def test_primary_becomes_a_replica(
    mariadb: MariaDB, read_only: Callable[[], None], contender: Callable[..., MysqlLock]
) -> None:
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


def test_galera_is_refused(contender: Callable[..., MysqlLock]) -> None:
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
def test_proxy_is_refused(mariadb: MariaDB, contender: Callable[..., MysqlLock], *, shared: bool) -> None:
    """Where the session has another number than it was told, somebody is between; nothing is locked through it."""
    url = mariadb.url("orders")
    with mysql_proxy(mariadb.port, shared=shared) as proxy:
        with pytest.raises(UsageError, match="pooler or proxy") as caught:
            contender(url.replace(str(mariadb.port), str(proxy.port))).try_acquire()
        assert "pooled=session" in str(caught.value.cure)


def test_proxy_with_sessions_of_their_own(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
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


def test_proxy_that_shares_sessions(mariadb: MariaDB, contender: Callable[..., MysqlLock]) -> None:
    """The word that whole sessions are pooled is tried out: through this proxy two of them would have the lock."""
    url = mariadb.url("orders")
    with (
        mysql_proxy(mariadb.port, shared=True) as proxy,
        pytest.raises(UsageError, match="share one connection") as caught,
    ):
        contender(url.replace(str(mariadb.port), str(proxy.port)) + "?pooled=session").try_acquire()

    assert caught.value.cure
