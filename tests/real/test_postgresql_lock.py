"""Is the lock in a PostgreSQL server given to one, seen by all, and lost for certain?"""

from __future__ import annotations

import select
import threading
import time
from typing import TYPE_CHECKING

import pytest

from launcher.databases import Refused, TableMissing
from launcher.errors import LockLost
from launcher.locks import Lock, LockUnreachable
from launcher.locks.postgresql import PostgresqlLock
from support.postgresql_locks import DRIVERS, Contenders, contenders, held, sessions
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgresql import PostgreSQL

EXPIRY_S = 2.0  # a holder that confirms ten times in it keeps it on a busy machine too
SLACK_S = 10.0


@pytest.fixture
def contender() -> Iterator[Contenders]:
    """Make contenders: `contender(url, 2, namespace="other")`."""
    with contenders() as made:
        yield made


def test_the_key_is_the_same_for_ever(contender: Contenders) -> None:
    """Another key in a new version would let the old and the new one in at the same time."""
    url = "postgresql://u@h/db"

    assert contender(url).key == 2088469105444259800
    assert contender(url, namespace="shop").key == -2805454336982470932


@pytest.mark.parametrize("driver", DRIVERS)
def test_who_waits_has_no_transaction_open(postgresql: PostgreSQL, contender: Contenders, driver: str) -> None:
    """Between and during the tries no waiter is in a transaction: CREATE INDEX CONCURRENTLY would wait for it."""
    url = postgresql.url("waiting", driver)
    owner, waiters = contender(url), [contender(url, pid) for pid in range(2, 5)]
    ours = held(owner)
    ours.say_step("seed")
    seen = []
    with postgresql.connect("waiting") as connection:
        for _ in range(20):
            assert [waiter.try_acquire() for waiter in waiters] == [None] * 3
            seen += sessions(connection)
    ours.release()

    assert {("idle", False)} == {(state, open_) for state, open_, _ in seen}
    assert len(seen) == 20 * 4


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_index_is_made_beside_waiters(postgresql: PostgreSQL, contender: Contenders, driver: str) -> None:
    """CREATE INDEX CONCURRENTLY ends while others wait for the lock, and the index is valid."""
    url = postgresql.url("index", driver)
    ours, waiters = held(contender(url)), [contender(url, pid) for pid in range(2, 5)]
    over = threading.Event()
    threads = [threading.Thread(target=_wait, args=(waiter, over)) for waiter in waiters]
    for thread in threads:
        thread.start()
    with postgresql.connect("index") as connection:
        connection.execute("SET statement_timeout = '20s'")
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 50000) AS n")
        connection.execute("CREATE INDEX CONCURRENTLY t_n ON t (n)")
        valid = connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_n'::regclass").fetchall()
    over.set()
    for thread in threads:
        thread.join()
    ours.release()

    assert valid == [(True,)]


def _wait(waiter: Lock, over: threading.Event) -> None:
    while not over.is_set():
        assert waiter.try_acquire() is None
        over.wait(0.05)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_session_that_is_ended_is_seen_at_once(postgresql: PostgreSQL, contender: Contenders, driver: str) -> None:
    """The descriptor is readable, the confirmation says lost, and the next contender gets the lock."""
    url = postgresql.url("ended", driver)
    ours = held(contender(url))
    watched = ours.watched()
    assert watched is not None
    with postgresql.connect("ended") as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    readable, _, _ = select.select([watched], [], [], 5)

    assert readable == [watched]
    with pytest.raises(LockLost, match="was lost"):
        ours.confirm()
    other = contender(url, 2)
    until(lambda: other.try_acquire() is not None, "the lock to be free")
    with pytest.raises(LockLost):
        ours.release()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("statement", ["DISCARD ALL", "SELECT pg_advisory_unlock_all()"])
def test_a_living_connection_is_no_proof(
    postgresql: PostgreSQL, contender: Contenders, driver: str, statement: str
) -> None:
    """A reset, as pools send it, takes the lock and leaves the connection: the confirmation asks for the lock."""
    lock = contender(postgresql.url("reset", driver))
    ours = held(lock)
    ours.confirm()
    lock.session().execute(statement)

    with pytest.raises(LockLost, match="not ours"):
        ours.confirm()
    with pytest.raises(LockLost, match="not ours"):
        ours.release()


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_server_ends_who_is_silent(postgresql: PostgreSQL, contender: Contenders, driver: str) -> None:
    """A holder that says nothing for the expiry loses the lock, by the server's clock; one that confirms keeps it."""
    url = postgresql.url("silent", driver)
    lock = contender(url, expiry_s=EXPIRY_S, kill_grace_s=0.2)
    ours, other = held(lock), contender(url, 2, expiry_s=EXPIRY_S, kill_grace_s=0.2)
    silent = begun = time.monotonic()
    while silent < begun + 1.5 * EXPIRY_S:
        assert other.try_acquire() is None
        silent = time.monotonic()
        ours.confirm()
        other.session().execute("SELECT pg_sleep(0.1)")
    until(other.try_acquire, "the lock to be free", EXPIRY_S + SLACK_S)
    after_s = time.monotonic() - silent

    assert EXPIRY_S <= after_s
    assert lock.warning is None
    with pytest.raises(LockLost):
        ours.confirm()


def test_one_server_two_databases(postgresql: PostgreSQL, contender: Contenders) -> None:
    """The same application in two databases of one server has two locks; two applications in one have two as well."""
    first, second = held(contender(postgresql.url("one"))), held(contender(postgresql.url("two"), 2))
    third = held(contender(f"postgresql://postgres@127.0.0.1:{postgresql.port}/one", 3, namespace="other"))
    for each in (first, second, third):
        each.confirm()
        each.release()


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_question_over_a_dead_session_is_asked_elsewhere(
    postgresql: PostgreSQL, contender: Contenders, driver: str
) -> None:
    """The session is let go and the next try opens a new one; what the server refuses is told, and it stays."""
    lock = contender(postgresql.url("questions", driver))
    session = lock.session()
    with pytest.raises(TableMissing):
        lock.ask(lock.url, "SELECT * FROM missing")
    with pytest.raises(Refused):
        lock.ask(lock.url, "SELECT missing FROM pg_class")
    answer = lock.ask(lock.url, "SELECT 1")
    with postgresql.connect("questions") as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (session.told_id,))
        until(lambda: sessions(connection) == [], "the session's end")

    assert (answer, lock.ask(lock.url, "SELECT 1")) == ([(1,)], None)
    assert session.closed
    held(lock).release()


def test_who_closes_does_not_wait_for_an_answer(postgresql: PostgreSQL, contender: Contenders) -> None:
    """Whoever gave up on a question closes the lock from another thread, at once, and nothing stays open."""
    for driver in DRIVERS:
        lock = contender(postgresql.url("hung", driver))
        session, ends = lock.session(), list[Exception]()
        session.execute("SET statement_timeout = 0")
        thread = threading.Thread(target=_sleep_on_server, args=(lock, ends))
        thread.start()
        with postgresql.connect("hung") as connection:
            until(lambda: any(state == "active" for state, _, _ in sessions(connection)), "the question to be asked")
            started = time.monotonic()
            lock.close()
            closed_s = time.monotonic() - started
            thread.join(10)

        assert closed_s < 5  # the answer would take 30 s
        assert not thread.is_alive()
        assert len(ends) == 1
        assert session.fileno() is None or session.fileno() == -1


def _sleep_on_server(lock: PostgresqlLock, ends: list[Exception]) -> None:
    try:
        lock.execute("SELECT pg_sleep(30)")
    except (LockUnreachable, LockLost) as error:
        ends.append(error)


def test_the_query_for_people_shows_the_holder(postgresql: PostgreSQL, contender: Contenders) -> None:
    """What `look` gives can be pasted into psql."""
    url = postgresql.url("seen")
    lock = contender(url, 4711)
    ours = held(lock)
    with postgresql.connect("seen") as connection:
        rows = connection.execute(lock.look.encode()).fetchall()
    ours.release()

    assert [row[1] for row in rows] == ["asgi-launcher lock here 4711"]
    assert str(lock.key) in lock.look


def test_a_holder_that_wrote_no_note_is_told_too(postgresql: PostgreSQL, contender: Contenders) -> None:
    """The session's own name says host and pid; an older holder's note is not taken for it."""
    url = postgresql.url("noteless")
    before = held(contender(url, 1))
    before.say_step("seed")
    before.release()
    free = contender(url, 3).holder()
    now = held(contender(url, 2))
    holder = contender(url, 3).holder()
    now.release()

    assert free is None
    assert holder is not None
    assert (holder.owner.host, holder.owner.pid, holder.step) == ("here", 2, "")
