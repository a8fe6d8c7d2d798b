"""Does the lock in a MySQL or MariaDB server keep what `launcher.locks` promises, through each driver?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from launcher.locks import Held, Lock, LockContext, Owner
from launcher.locks.mysql import MysqlLock
from launcher.locks.session import SessionHeld
from launcher.testing import LockContract
from support.mariadb import PASSWORD, MariaDB

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestMysqlLock(LockContract):
    """GET_LOCK and the ledger's tables, as a user without rights on the server."""

    secret: ClassVar[str] = PASSWORD

    @pytest.fixture(autouse=True, params=["pymysql", "mysqldb", "aiomysql", "asyncmy"])
    def _in(self, request: pytest.FixtureRequest, mariadb: MariaDB, tmp_path: Path) -> Iterator[None]:
        mariadb.url("contract")
        self.url, self.cwd, self.made = mariadb.clerks_url("contract", request.param), tmp_path, list[Lock]()
        self.server = mariadb
        yield
        for lock in self.made:
            lock.close()

    def contender(self, pid: int, namespace: str = "") -> Lock:
        """Return a contender for the lock of the test's database."""
        scheme, _, where = self.url.partition(":")
        owner = Owner(host="here", pid=pid, release=None)
        context = LockContext(where=where, cwd=self.cwd, owner=owner, namespace=namespace, scheme=scheme)
        self.made.append(MysqlLock(context))
        return self.made[-1]

    def other_namespace(self, pid: int) -> Lock:
        """Return a contender of another application in the same database."""
        return self.contender(pid, namespace="other")

    def lose(self, held: Held) -> bool:
        """End the holder's session, as an administrator."""
        assert isinstance(held, SessionHeld)
        [(number,)] = self.server.ask("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'clerk'")
        self.server.ask("KILL %s", number)
        return True
