"""How do tests contend for the lock in a PostgreSQL server?"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.locks import Lock, LockContext, Owner
from launcher.locks.postgresql import PostgresqlLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from launcher.locks.session import SessionHeld
    from support.own_postgresql import OwnPostgreSQL
    from support.postgresql import PostgreSQL

DRIVERS = ["psycopg", "psycopg2", "asyncpg"]


class Contenders:
    """Locks that are closed after the test."""

    def __init__(self) -> None:
        """None yet."""
        self.made: list[Lock] = []

    def __call__(self, url: str, pid: int = 1, **more: Any) -> PostgresqlLock:
        """Return a lock for the contender `pid`; `more` as in LockContext."""
        scheme, _, where = url.partition(":")
        context = LockContext(
            where=where, cwd=Path(), owner=Owner(host="here", pid=pid, release=None), namespace="", scheme=scheme
        )
        lock = PostgresqlLock(replace(context, **more))
        self.made.append(lock)
        return lock


@contextmanager
def contenders() -> Iterator[Contenders]:
    """Make contenders for the length of the block: `made(url, 2, namespace="other")`."""
    made = Contenders()
    try:
        yield made
    finally:
        for lock in made.made:
            lock.close()


def held(lock: PostgresqlLock) -> SessionHeld:
    """Return the lock, which is free."""
    taken = lock.try_acquire()
    assert taken is not None
    return taken


def as_role(server: PostgreSQL | OwnPostgreSQL, url: str, name: str, *settings: str) -> str:
    """Make a role that owns nothing, with `ALTER ROLE ... SET` settings; return the URL with it."""
    with server.connect() as connection:
        connection.execute(f"DROP ROLE IF EXISTS {name}".encode())
        connection.execute(f"CREATE ROLE {name} LOGIN".encode())
        for setting in settings:
            connection.execute(f"ALTER ROLE {name} SET {setting}".encode())
    return url.replace("postgres@", f"{name}@")


def sessions(connection: psycopg.Connection[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the sessions of locks: (state, whether a transaction is open, milliseconds in the query)."""
    return connection.execute(
        "SELECT state, xact_start IS NOT NULL, extract(epoch FROM clock_timestamp() - query_start) * 1000"
        " FROM pg_stat_activity WHERE application_name LIKE 'asgi-launcher lock %' AND datname = current_database()"
    ).fetchall()
