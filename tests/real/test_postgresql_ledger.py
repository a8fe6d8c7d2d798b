"""Are the records in a PostgreSQL database kept, whatever rights, schemas and migrations there are?"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from launcher.errors import LockLost, LockNotObtained, UsageError
from launcher.locks import Lock
from support.postgresql_locks import DRIVERS, Contenders, as_role, contenders, held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgresql import PostgreSQL

_TABLE = "asgi_launcher_ledger"


@pytest.fixture
def contender() -> Iterator[Contenders]:
    """Make contenders: `contender(url, 2, namespace="other")`."""
    with contenders() as made:
        yield made


def test_an_old_holder_writes_nothing(postgresql: PostgreSQL, contender: Contenders) -> None:
    """Who was cut off and replaced cannot record an end, whatever it believes."""
    url = postgresql.url("fenced")
    old, new = contender(url), contender(url, 2)
    held(old)
    before = old.ledger.begin("seed", "r1")
    with postgresql.connect("fenced") as connection:
        connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")
    held(new)
    after = new.ledger.begin("seed", "r1")

    with pytest.raises(LockLost):
        old.ledger.finish(before, "done", exit_code=0, tail="")
    assert not contender(url, 3).ledger.finish(before, "done", exit_code=0, tail="")
    assert new.ledger.finish(after, "done", exit_code=0, tail="")
    assert after.token == before.token + 1


def test_two_beginnings_at_once_have_not_the_same_token(postgresql: PostgreSQL, contender: Contenders) -> None:
    """Even without any lock the table lets only one of two begin a step with a token."""
    url = postgresql.url("raced")
    contender(url).ledger.begin("seed", "r0")
    locks = [contender(url, pid) for pid in range(1, 5)]
    outcomes: list[int | None] = []
    threads = [threading.Thread(target=_begin, args=(lock, f"r{n}", outcomes)) for n, lock in enumerate(locks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tokens = [token for token in outcomes if token is not None]

    assert len(outcomes) == 4
    assert tokens
    assert len(tokens) == len(set(tokens))


def _begin(lock: Lock, key: str, outcomes: list[int | None]) -> None:
    try:
        outcomes.append(lock.ledger.begin("seed", key).token)
    except LockLost:
        outcomes.append(None)


def test_where_nothing_was_recorded_nothing_is_known(postgresql: PostgreSQL, contender: Contenders) -> None:
    """Who only reads gets an empty ledger and makes no table; a role that may only read can do so."""
    url = postgresql.url("empty")
    lock = contender(url)
    assert (lock.ledger.read("seed", "r1"), lock.ledger.records(), lock.holder()) == (None, [], None)
    with postgresql.connect("empty") as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        contender(url, 2).ledger.begin("seed", "r1")
        reader = as_role(postgresql, url, "reader", "default_transaction_read_only = on")
        connection.execute(f"GRANT SELECT ON {_TABLE} TO reader".encode())
    record = contender(reader, 3).ledger.read("seed", "r1")

    assert tables == []
    assert record is not None
    assert record.state == "running"


def test_who_may_not_create_the_table_is_told_how(postgresql: PostgreSQL, contender: Contenders) -> None:
    """The refusal has the option and the statements; with those tables made by somebody else it goes on."""
    url = as_role(postgresql, postgresql.url("strict"), "strict")
    lock = contender(url)
    ours = held(lock)
    ours.say_step("seed")
    with pytest.raises(UsageError, match="cannot be created: permission denied") as caught:
        lock.ledger.begin("seed", "r1")
    assert "--ledger-table SCHEMA.TABLE" in caught.value.cure
    assert "CREATE TABLE" in caught.value.cure
    with postgresql.connect("strict") as connection:
        connection.execute(lock.ledger.ddl().encode())
        for table in (_TABLE, f"{_TABLE}_holder"):
            connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO strict".encode())
    ours.say_step("seed")
    record = lock.ledger.begin("seed", "r1")

    assert lock.ledger.finish(record, "done", exit_code=0, tail="")
    ours.release()


def test_a_reader_without_rights_is_told(postgresql: PostgreSQL, contender: Contenders) -> None:
    """A ledger that may not be read is not an empty one; the lock itself is not touched by it."""
    url = postgresql.url("shut")
    contender(url).ledger.begin("seed", "r1")
    lock = contender(as_role(postgresql, url, "shut"), 2)
    ours = held(contender(url, 3))
    assert lock.try_acquire() is None
    with pytest.raises(UsageError, match="permission denied") as caught:
        lock.ledger.records()
    ours.release()

    assert "SELECT" in caught.value.cure
    assert lock.mark() is None


def test_the_ledger_may_be_in_another_schema(postgresql: PostgreSQL, contender: Contenders) -> None:
    """`--ledger-table SCHEMA.TABLE`, exactly as it is written; a schema that is not there is said."""
    url = postgresql.url("elsewhere")
    with postgresql.connect("elsewhere") as connection:
        connection.execute('CREATE SCHEMA "Ops"')
        first, second = contender(url, ledger_table="Ops.Ledger"), contender(url, 2, ledger_table="ops.ledger")
        ours = held(first)
        ours.say_step("seed")
        first.ledger.begin("seed", "r1")
        tables = connection.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = 'Ops'").fetchall()
    ours.release()

    assert {("Ops", "Ledger"), ("Ops", "Ledger_holder")} == set(tables)
    assert second.ledger.records() == []
    with pytest.raises(UsageError, match='schema "ops" does not exist'):
        second.ledger.begin("seed", "r1")


@pytest.mark.parametrize("name", ["", "a.b.c", 'x"; drop table t; --', "1st", "x" * 57, "schema."])
def test_a_table_has_a_plain_name(contender: Contenders, name: str) -> None:
    """What is no plain name never reaches the server."""
    with pytest.raises(UsageError, match="--ledger-table"):
        contender("postgresql://u@h/db", ledger_table=name)


@pytest.mark.parametrize("vanished", [f"DROP TABLE {_TABLE}", "DROP SCHEMA public CASCADE; CREATE SCHEMA public"])
def test_a_table_that_the_step_dropped_is_made_again(
    postgresql: PostgreSQL, contender: Contenders, vanished: str
) -> None:
    """A migration that clears the schema takes the ledger along; its own end is recorded all the same."""
    url = postgresql.url("vanished")
    lock, waiter = contender(url), contender(url, 2)
    ours = held(lock)
    ours.say_step("seed")
    record = lock.ledger.begin("seed", "r1")
    assert waiter.try_acquire() is None
    with postgresql.connect("vanished") as connection:
        connection.execute(vanished.encode())
    assert waiter.try_acquire() is None
    assert waiter.mark() == ""
    finished = lock.ledger.finish(record, "done", exit_code=0, tail="ok")
    again = waiter.ledger.read("seed", "r1")
    ours.release()

    assert finished
    assert again is not None
    assert (again.state, again.token, again.attempt, again.tail) == ("done", record.token, 1, "ok")
    assert again.started_at == record.started_at


def test_a_row_that_vanished_is_written_again_only_if_nobody_began_since(
    postgresql: PostgreSQL, contender: Contenders
) -> None:
    """TRUNCATE is a vanished table; a newer beginning in the new one is not overwritten."""
    url = postgresql.url("truncated")
    lock = contender(url)
    record = lock.ledger.begin("seed", "r1")
    with postgresql.connect("truncated") as connection:
        connection.execute(f"TRUNCATE {_TABLE}".encode())
    newer = contender(url, 2).ledger.begin("seed", "r1")
    overwritten = lock.ledger.finish(record, "done", exit_code=0, tail="")
    with postgresql.connect("truncated") as connection:
        connection.execute(f"TRUNCATE {_TABLE}".encode())

    assert not overwritten
    assert lock.ledger.finish(newer, "done", exit_code=0, tail="")


def test_another_versions_ledger_is_not_guessed_at(postgresql: PostgreSQL, contender: Contenders) -> None:
    """Rows of a newer version and a table of another shape are refused, with what to do."""
    url = postgresql.url("newer")
    contender(url).ledger.begin("seed", "r1")
    with postgresql.connect("newer") as connection:
        connection.execute("UPDATE asgi_launcher_ledger SET version = 2")
        connection.execute("CREATE TABLE other (id int)")
    ledger = contender(url).ledger
    with pytest.raises(UsageError, match="another version"):
        ledger.records()
    with pytest.raises(UsageError, match="another version"):
        ledger.begin("seed", "r2")
    with pytest.raises(UsageError, match="no ledger that this version"):
        contender(url, ledger_table="other").ledger.begin("seed", "r1")


def test_fifty_records_of_a_step_are_kept(postgresql: PostgreSQL, contender: Contenders) -> None:
    """Its oldest go first; another step's only record stays."""
    ledger = contender(postgresql.url("many")).ledger
    ledger.finish(ledger.begin("once", "ever"), "done", exit_code=0, tail="")
    for number in range(55):
        ledger.finish(ledger.begin("seed", f"r{number}"), "done", exit_code=0, tail="")
    records = ledger.records()

    assert [f"r{number}" for number in range(5, 55)] == [record.key for record in records if record.step == "seed"]
    assert ledger.read("once", "ever") is not None


def test_a_locked_table_does_not_hold_up_the_tries(postgresql: PostgreSQL, contender: Contenders) -> None:
    """A migration that has locked the ledger lets waiters wait on, and a record is said to be late, not lost."""
    url = postgresql.url("locked")
    lock, waiter = contender(url), contender(url, 2)
    ours = held(lock)
    record = lock.ledger.begin("seed", "r1")
    assert waiter.try_acquire() is None
    with postgresql.connect("locked") as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {_TABLE}".encode())
        assert waiter.try_acquire() is None
        with pytest.raises(LockNotObtained, match="did not answer in time"):
            lock.ledger.finish(record, "done", exit_code=0, tail="")
    ours.confirm()

    assert lock.ledger.finish(record, "done", exit_code=0, tail="")
    ours.release()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_whatever_encoding_the_database_has(
    postgresql: PostgreSQL, contender: Contenders, driver: str, encoding: str
) -> None:
    """A database from before UTF-8 keeps records too; what it has no place for is written as a question mark."""
    url = postgresql.url("encoded", driver)
    with postgresql.connect() as connection:
        connection.execute("DROP DATABASE encoded")
        connection.execute(f"CREATE DATABASE encoded ENCODING '{encoding}' TEMPLATE template0".encode())
    lock = contender(url)
    ours = held(lock)
    ours.say_step("seed")
    assert lock.ledger.finish(lock.ledger.begin("seed", "r1"), "done", exit_code=0, tail="done \u2713")
    record, holder = lock.ledger.read("seed", "r1"), lock.holder()
    ours.release()

    assert record is not None
    assert record.tail in {"done \u2713", "done ?"}
    assert holder is not None
    assert (holder.owner.host, holder.step) == ("here", "seed")
