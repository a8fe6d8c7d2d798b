"""Does the lock in a PostgreSQL server keep what `launcher.locks` promises, through each driver?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from launcher.locks import Held, Lock, LockContext, Owner
from launcher.locks.postgresql import PostgresqlLock
from launcher.testing import LockContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgresql import PostgreSQL

_PASSWORD = "s3cret&more"


class TestPostgresqlLock(LockContract):
    """The advisory lock and the ledger's tables, as a role that owns nothing but its database."""

    secret: ClassVar[str] = _PASSWORD

    @pytest.fixture(autouse=True, params=["psycopg", "psycopg2", "asyncpg"])
    def _in(self, request: pytest.FixtureRequest, postgresql: PostgreSQL, tmp_path: Path) -> Iterator[None]:
        name = f"contract_{request.param}"
        self.scheme, self.cwd, self.server, self.name = f"postgresql+{request.param}", tmp_path, postgresql, name
        _, _, where = postgresql.url(name, request.param).partition("@")
        with postgresql.connect(name) as connection:
            connection.execute(f"DROP ROLE IF EXISTS {name}".encode())
            connection.execute(f"CREATE ROLE {name} LOGIN".encode())
            connection.execute(f"ALTER DATABASE {name} OWNER TO {name}".encode())
        self.where, self.made = f"//{name}:s3cret%26more@{where}", list[Lock]()
        yield
        for lock in self.made:
            lock.close()

    def contender(self, pid: int, namespace: str = "") -> Lock:
        """Return a contender for the lock of the test's database."""
        owner = Owner(host="here", pid=pid, release=None)
        context = LockContext(where=self.where, cwd=self.cwd, owner=owner, namespace=namespace, scheme=self.scheme)
        self.made.append(PostgresqlLock(context))
        return self.made[-1]

    def other_namespace(self, pid: int) -> Lock:
        """Return a contender of another application in the same database."""
        return self.contender(pid, namespace="other")

    def lose(self, held: Held) -> bool:
        """End the holder's session, as an administrator."""
        del held  # nobody else holds a key in this database
        with self.server.connect(self.name) as connection:
            connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")
        return True
