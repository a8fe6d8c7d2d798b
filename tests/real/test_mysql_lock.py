"""Is the lock in a real MariaDB server the only one, and never for longer than its holder lives?"""

from __future__ import annotations

import select
import signal
import time
from typing import TYPE_CHECKING

import pytest

from launcher.errors import LockLost
from launcher.locks import LockUnreachable
from support.mariadb import MariaDB, running_mariadb
from support.mysql_locks import CONTEND, DRIVERS, EXPIRY_S, HOLD, Contenders, contenders, start, taken
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.spawning import Spawner

SLACK_S = 5.0  # this machine may be busy


@pytest.fixture
def contender() -> Iterator[Contenders]:
    """Make contenders in this process: `contender(url)`."""
    with contenders() as made:
        yield made


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
def test_killed_holder_frees_it(mariadb: MariaDB, spawn: Spawner, contender: Contenders, driver: str) -> None:
    """The lock of a process that was killed with -9 is free at once: nobody waits for its expiry."""
    url = mariadb.url("orders", driver)
    process = start(spawn, HOLD, url)
    until(lambda: "held" in process.stdout, "the holder to hold", 20)
    waiter = contender(url)
    assert not taken(waiter)
    process.popen.kill()
    killed_at_s = time.monotonic()
    until(lambda: taken(waiter), "the lock")

    assert time.monotonic() - killed_at_s < SLACK_S < EXPIRY_S
    assert waiter.holder() is None  # whatever the note beside the records says


@pytest.mark.parametrize("driver", ["mysqldb", "asyncmy"])
def test_silent_holder_loses_it(mariadb: MariaDB, spawn: Spawner, contender: Contenders, driver: str) -> None:
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

    assert EXPIRY_S - 2 <= after_s  # its last question was a little earlier, and the server counts whole seconds
    assert process.wait(10) == 1
    assert "LockLost" in process.stderr


def test_databases_have_locks_of_their_own(mariadb: MariaDB, contender: Contenders) -> None:
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
def test_drivers_exclude_each_other(mariadb: MariaDB, contender: Contenders, one: str, other: str) -> None:
    """The lock is of the database, whichever driver, user and spelling of the URL lead there."""
    url = mariadb.url("orders", one)
    held = contender(url).try_acquire()
    assert held is not None
    waiter = contender(mariadb.clerks_url("orders", other).replace("mysql+", "mariadb+"))

    assert not taken(waiter)
    held.release()
    assert taken(waiter)


@pytest.mark.parametrize("driver", DRIVERS)
def test_loss_is_told_by_the_descriptor(mariadb: MariaDB, contender: Contenders, driver: str) -> None:
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


def test_lock_that_was_given_back_is_lost(mariadb: MariaDB, contender: Contenders) -> None:
    """The session lives and the lock is gone (a pool's reset does that): the holder is told so."""
    lock = contender(mariadb.url("orders"))
    held = lock.try_acquire()
    assert held is not None
    lock.execute("SELECT RELEASE_ALL_LOCKS()")

    with pytest.raises(LockLost, match="not ours"):
        held.confirm()


@pytest.mark.parametrize("at_once", [False, True])
def test_server_that_restarts_has_no_locks(contender: Contenders, *, at_once: bool) -> None:
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


def test_old_owner_writes_nothing(mariadb: MariaDB, contender: Contenders) -> None:
    """An owner that was replaced cannot record its end, whatever it believes to hold."""
    url = mariadb.url("orders")
    first, second = contender(url), contender(url)
    old = first.ledger.begin("seed", "r1")
    new = second.ledger.begin("seed", "r1")

    assert not first.ledger.finish(old, "done", exit_code=0, tail="")
    assert second.ledger.finish(new, "failed", exit_code=3, tail="no room")
    assert [("failed", old.token + 1, 3)] == [(r.state, r.token, r.exit_code) for r in first.ledger.records()]


def test_waiters_keep_nothing_open(mariadb: MariaDB, contender: Contenders) -> None:
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


def test_the_look_shows_the_holder(mariadb: MariaDB, contender: Contenders) -> None:
    """The query that is printed for people finds the holder's session; the lock's name is one that MySQL takes."""
    lock = contender(mariadb.url("orders"))
    held = lock.try_acquire()
    assert held is not None
    number = lock.execute("SELECT CONNECTION_ID()")[0][0]

    assert [number] == [row[0] for row in mariadb.ask(lock.look)]
    assert len(lock.name) <= 64
    assert lock.name == lock.name.lower()
