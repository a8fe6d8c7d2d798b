"""Is the lock safe with PostgreSQL servers and roles as people have them?"""

from __future__ import annotations

import select
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.databases import Crowded, ask
from launcher.errors import LockLost, UsageError
from launcher.locks import Lock, LockCrowded, LockUnreachable
from support.own_postgresql import own_postgresql
from support.postgresql_locks import DRIVERS, Contenders, as_role, contenders, held, sessions
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from support.own_postgresql import Shutdown
    from support.postgresql import PostgreSQL


@pytest.fixture
def contender() -> Iterator[Contenders]:
    """Make contenders: `contender(url, 2, namespace="other")`."""
    with contenders() as made:
        yield made


def test_a_standby_is_refused(contender: Contenders) -> None:
    """Locks of a standby are its own, and nothing can be recorded there; of several hosts the primary is taken."""
    with own_postgresql() as primary:
        url = primary.url("shop")
        with primary.standby() as standby:
            standby.start()
            with pytest.raises(UsageError, match="standby") as caught:
                contender(url.replace(f":{primary.port}/", f":{standby.port}/")).try_acquire()
            both = url.replace(f"127.0.0.1:{primary.port}", f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}")
            for driver in DRIVERS:
                held(contender(both.replace("postgresql:", f"postgresql+{driver}:"))).release()

    assert "primary" in caught.value.cure


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_of_the_server_is_a_loss(contender: Contenders, driver: str, how: Shutdown) -> None:
    """The holder is told and does not come back by itself; the next one finds the record of what it began."""
    with own_postgresql() as server:
        url = server.url("shop", driver)
        lock, other = contender(url), contender(url, 2)
        ours = held(lock)
        watched = ours.watched()
        assert watched is not None
        record = lock.ledger.begin("seed", "r1")
        server.restart(how)
        readable, _, _ = select.select([watched], [], [], 5)
        with pytest.raises(LockLost):
            ours.confirm()
        with pytest.raises(LockLost, match="could not be recorded"):
            lock.ledger.finish(record, "done", exit_code=0, tail="")
        with pytest.raises(LockLost):
            lock.try_acquire()
        theirs = held(other)
        found = other.ledger.read("seed", "r1")
        theirs.release()

    assert readable == [watched]
    assert found is not None
    assert (found.state, found.token, found.grace_s) == ("running", record.token, ours.takeover_s)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_full_server_is_told_from_a_dead_one(contender: Contenders, driver: str) -> None:
    """Too many clients, a wrong password and nobody there are three things; who waits gives its connection back."""
    with own_postgresql("max_connections=8", "superuser_reserved_connections=2") as server:
        url = as_role(server, server.url("shop", driver), "clerk")
        waiter, ours = contender(url, 2), held(contender(url))
        assert waiter.try_acquire() is None
        relaxed = waiter.poll_s
        others = [server.connect("shop") for _ in range(3)]
        assert waiter.try_acquire() is None
        tense, open_now = waiter.poll_s, _lock_sessions(others[0])
        others += [server.connect("shop") for _ in range(2)]
        with pytest.raises(LockCrowded):
            waiter.try_acquire()
        ours.confirm()
        with pytest.raises(Crowded):
            ask(url, "SELECT 1", connect_timeout_s=0.5)
        soon = threading.Timer(0.5, others.pop().close)
        soon.start()
        asked = ask(url, "SELECT 1", connect_timeout_s=10)
        soon.join()
        for other in others:
            other.close()
        until(lambda: _not_crowded(waiter), "the waiter to get a connection again")
        ours.release()
    with pytest.raises(LockUnreachable):
        contender(url).try_acquire()

    assert relaxed < tense
    assert (open_now, asked) == (1, [(1,)])


def _lock_sessions(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    return until(lambda: (count := len(sessions(connection))) == 1 and count, "the waiter's session to be gone")


def _not_crowded(waiter: Lock) -> bool:
    try:
        return waiter.try_acquire() is None
    except LockCrowded:
        return False


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_wrong_password_is_no_reason_to_try_again(tmp_path: Path, contender: Contenders, driver: str) -> None:
    """The server knows the role and not this password: another try would not help, and the text does not tell it."""
    with own_postgresql() as server:
        url = as_role(server, server.url("shop", driver), "clerk").replace("clerk@", "clerk:wr0ng@")
        with server.connect() as connection:
            connection.execute("ALTER ROLE clerk PASSWORD 'right'")
            (hba,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        access = Path(hba)
        access.write_text("local all all trust\nhost all clerk 127.0.0.1/32 scram-sha-256\n")
        with server.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
        unknown = url.replace("clerk:", "nobody:")
        until(lambda: _refusal(contender(url)), "the new rules")
        with pytest.raises(UsageError, match="no pg_hba"):
            contender(unknown).try_acquire()
        text = _refusal(contender(url))

    assert "password authentication failed" in text
    assert "wr0ng" not in text


def _refusal(lock: Lock) -> str:
    try:
        lock.try_acquire()
    except UsageError as error:
        return f"{error.message} {error.cure}"
    lock.close()
    return ""


def test_what_the_server_does_not_set_is_said(postgresql: PostgreSQL, contender: Contenders) -> None:
    """Where the expiry is refused (here: more than its column holds) the others are set, and a warning tells it."""
    lock = contender(postgresql.url("refusing"), expiry_s=3_000_000.0)
    ours = held(lock)
    keepalives = lock.session().execute("SELECT current_setting('tcp_keepalives_idle')")
    warning = lock.warning
    ours.release()

    assert keepalives == [("10",)]
    assert warning is not None
    assert "idle_session_timeout" in warning


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_roles_own_timeouts_do_not_count(postgresql: PostgreSQL, contender: Contenders, driver: str) -> None:
    """Timeouts that an administrator gave the role neither end the lock's session nor reach the steps through us."""
    url = postgresql.url("impatient", driver)
    settings = ("idle_session_timeout = '700ms'", "statement_timeout = '1s'", "lock_timeout = '1ms'")
    more = ("idle_in_transaction_session_timeout = '1s'", "default_transaction_read_only = on")
    strict = "default_transaction_isolation = 'serializable'"
    url = as_role(postgresql, url, "impatient", *settings, *more, strict)
    with postgresql.connect("impatient") as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO impatient")
    lock = contender(url)
    ours = held(lock)
    watched = ours.watched()
    assert watched is not None
    record = lock.ledger.begin("seed", "r1")
    lost, _, _ = select.select([watched], [], [], 1.5)

    assert lost == []
    ours.confirm()
    assert lock.ledger.finish(record, "done", exit_code=0, tail="")
    assert lock.warning is None
    ours.release()


def test_a_driver_without_an_adapter_is_replaced(postgresql: PostgreSQL, contender: Contenders) -> None:
    """A URL for a driver that the launcher does not speak is opened with one that it does."""
    lock = contender(postgresql.url("adapted", "pg8000"))

    held(lock).release()
