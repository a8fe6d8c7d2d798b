"""Is a lock behind a real PgBouncer refused where two could have it?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from launcher.errors import UsageError
from launcher.locks import LockUnreachable
from support.pgbouncer import PoolMode, running_pgbouncer
from support.postgresql_locks import DRIVERS, Contenders, contenders, held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgresql import PostgreSQL


@pytest.fixture
def contender() -> Iterator[Contenders]:
    """Make contenders: `contender(url, 2, namespace="other")`."""
    with contenders() as made:
        yield made


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_a_pooler_is_refused(postgresql: PostgreSQL, contender: Contenders, driver: str, mode: PoolMode) -> None:
    """Behind PgBouncer two replicas could have the lock at once; the text says what to give instead."""
    url = postgresql.url("pooled", driver)
    with (
        running_pgbouncer(postgresql.port, mode) as pooler,
        pytest.raises(UsageError, match="connection pooler") as caught,
    ):
        contender(pooler.pooled(url)).try_acquire()

    assert "--lock" in caught.value.cure
    assert "?pooled=session" in caught.value.cure


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_pooler_in_session_mode_may_be_declared(postgresql: PostgreSQL, contender: Contenders, driver: str) -> None:
    """With ?pooled=session one contender at a time has the lock, and gives it back to the next."""
    url = postgresql.url("declared", driver)
    with running_pgbouncer(postgresql.port, "session") as pooler:
        url = pooler.pooled(url) + "?pooled=session"
        first, second = contender(url), contender(url, 2)
        ours = held(first)
        ours.confirm()
        assert second.try_acquire() is None
        ours.release()
        theirs = held(second)
        theirs.release()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("transaction", ()),
        ("statement", ()),
        ("transaction", ("default_pool_size = 1",)),
        ("transaction", ("server_reset_query_always = 1",)),
        ("statement", ("server_reset_query_always = 1",)),
    ],
)
def test_a_wrong_declaration_is_found_out(
    postgresql: PostgreSQL, contender: Contenders, driver: str, mode: PoolMode, settings: tuple[str, ...]
) -> None:
    """?pooled=session of a pooler that shares its server connections is refused, and leaves no key behind."""
    url = postgresql.url("shared", driver)
    with (
        running_pgbouncer(postgresql.port, mode, *settings) as pooler,
        pytest.raises(UsageError, match="shares its server connections"),
    ):
        contender(pooler.pooled(url) + "?pooled=session").try_acquire()
    with postgresql.connect("shared") as connection:
        keys = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchall()

    assert keys == [(0,)]


def test_a_full_pool_is_tried_again(postgresql: PostgreSQL, contender: Contenders) -> None:
    """A pool whose only server connection is ours cannot show that it shares none: it is said, in bounded time."""
    url = postgresql.url("narrow")
    with running_pgbouncer(postgresql.port, "session", "default_pool_size = 1") as pooler:
        started = time.monotonic()
        with pytest.raises(LockUnreachable, match="closed"):
            contender(pooler.pooled(url) + "?pooled=session").try_acquire()

    assert time.monotonic() - started < 20
