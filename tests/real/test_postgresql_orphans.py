"""What becomes of the sessions that a dead holder's steps left in a PostgreSQL server?"""

from __future__ import annotations

import contextlib
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.postgresql_locks import Contenders, as_role, contenders, held
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgresql import PostgreSQL

# The sessions of a dead holder's steps, as they are left.
IDLE, IDLE_IN_TRANSACTION, ABORTED, ACTIVE = "idle", "idle in transaction", "idle in transaction (aborted)", "active"
BEGUN = {
    IDLE: ["SELECT 's3cret'"],
    IDLE_IN_TRANSACTION: ["BEGIN", "SELECT 's3cret'"],
    ABORTED: ["BEGIN", "SELECT 's3cret' / 0"],
    ACTIVE: ["SELECT pg_sleep(60), 's3cret'"],
}


@pytest.fixture
def contender() -> Iterator[Contenders]:
    """Make contenders: `contender(url, 2, orphans="terminate")`."""
    with contenders() as made:
        yield made


@contextmanager
def left(postgresql: PostgreSQL, database: str, name: str, state: str) -> Iterator[int]:
    """Leave a session of this name in this state for the length of the block; yield its number."""
    orphan = postgresql.connect(database)
    orphan.execute("SELECT set_config('application_name', %s, false)", (name,))
    thread = threading.Thread(target=_carry_out, args=(orphan, BEGUN[state]))
    thread.start()
    pid = orphan.info.backend_pid
    try:
        until(lambda: state_of(postgresql, pid) == state, f"a session that is {state}")
        yield pid
    finally:
        with postgresql.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        thread.join()
        orphan.close()


def _carry_out(orphan: psycopg.Connection[Any], statements: list[str]) -> None:
    for statement in statements:
        with contextlib.suppress(psycopg.Error):
            orphan.execute(statement.encode())


def state_of(postgresql: PostgreSQL, pid: int) -> str | None:
    """Return what the server says of the session; None when it is gone."""
    with postgresql.connect() as connection:
        rows = connection.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall()
    return rows[0][0] if rows else None


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
def test_what_works_is_waited_for(postgresql: PostgreSQL, contender: Contenders, driver: str) -> None:
    """A tagged session at work is told, the same each time and without its statement; one that rests is spared."""
    ours = held(contender(postgresql.url("orphans_at_work", driver)))
    name = ours.environ()["PGAPPNAME"]
    with left(postgresql, "orphans_at_work", name, IDLE) as idle:
        rested = ours.orphans()
        with left(postgresql, "orphans_at_work", name, ACTIVE) as active:
            told, again = ours.orphans(), ours.orphans()
            states = [state_of(postgresql, pid) for pid in (idle, active)]

    assert (rested, states) == ((), [IDLE, ACTIVE])
    assert told == again
    assert len(told) == 1
    assert told[0].startswith(f"backend pid {active}, SELECT since 20")
    assert "s3cret" not in told[0]
    assert len(name.encode()) <= 63


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
@pytest.mark.parametrize(
    ("orphans", "state"),
    [
        ("wait", IDLE_IN_TRANSACTION),
        ("wait", ABORTED),
        ("terminate", IDLE_IN_TRANSACTION),
        ("terminate", IDLE),
        ("terminate", ACTIVE),
    ],
)
def test_what_may_not_stay_is_ended(
    postgresql: PostgreSQL, contender: Contenders, driver: str, orphans: str, state: str
) -> None:
    """A transaction that nobody goes on with, always; with `terminate` what works, and what rests and may go on."""
    ours = held(contender(postgresql.url("orphans_ended", driver), orphans=orphans))
    with (
        left(postgresql, "orphans_ended", "somebody else's", state) as other,
        left(postgresql, "orphans_ended", ours.environ()["PGAPPNAME"], state) as pid,
    ):
        told = ours.orphans()
        until(lambda: ours.orphans() == (), "the session to be ended")
        states = [state_of(postgresql, each) for each in (other, pid)]

    assert states == [state, None]
    assert len(told) == 1
    assert told[0].startswith(f"backend pid {pid}, {'SELECT' if state == ACTIVE else state} since 20")
    assert told[0].endswith(" (told to end)")


@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.parametrize("orphans", ["wait", "terminate"])
def test_what_may_not_be_ended_is_told(
    postgresql: PostgreSQL, contender: Contenders, orphans: str, *, sees: bool
) -> None:
    """Another role's session is waited for, with the server's refusal; one whose state is hidden may be at work."""
    url = as_role(postgresql, postgresql.url("orphans_of_others"), "orphans_reader")
    with postgresql.connect("orphans_of_others") as connection:
        connection.execute("GRANT ALL ON SCHEMA public TO orphans_reader")
        connection.execute(b"GRANT pg_monitor TO orphans_reader" if sees else b"SELECT 1")
    ours = held(contender(url, orphans=orphans))
    with left(postgresql, "orphans_of_others", ours.environ()["PGAPPNAME"], IDLE_IN_TRANSACTION) as pid:
        told = ours.orphans()
        state = state_of(postgresql, pid)
    ours.release()
    with postgresql.connect("orphans_of_others") as connection:
        connection.execute("DROP OWNED BY orphans_reader")
        connection.execute("DROP ROLE orphans_reader")

    assert state == IDLE_IN_TRANSACTION
    assert len(told) == 1
    assert told[0].startswith(f"backend pid {pid}, {IDLE_IN_TRANSACTION if sees else '?'} since ")
    assert ("(it cannot be ended: " in told[0]) == (sees or orphans == "terminate")
