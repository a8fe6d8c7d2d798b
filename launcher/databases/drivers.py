"""Which driver connects to which database?

Each has an adapter, in the module of its dialect. A driver that is not listed is used through SQLAlchemy itself to ask
a question; a connection that has to be kept is made by one of ours, since SQLAlchemy connects again on its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from launcher.databases.errors import CannotAsk
from launcher.databases.mysql import Aiomysql, Asyncmy, MySQLdb, PyMySQL
from launcher.databases.postgresql import Asyncpg, Psycopg, Psycopg2
from launcher.databases.session import Connection, Rows
from launcher.databases.sqlite import Sqlite
from launcher.databases.url import DatabaseUrl

Connect = Callable[[DatabaseUrl, float, str | None], Connection]


def connect(url: str, parts: DatabaseUrl, timeout_s: float) -> Connection:
    """Connect to ask. Raises CannotAsk, TableMissing (no SQLite file), and whatever the driver raises."""
    adapter = _ADAPTERS.get(choose(parts))
    if adapter is None:
        return _ThroughSqlalchemy(url)
    return adapter(parts, timeout_s, None)


def connect_to_keep(parts: DatabaseUrl, timeout_s: float, application: str) -> Connection:
    """Connect with an adapter of ours, to the primary where several hosts are given. Raises as `connect`."""
    if parts.driver not in _ADAPTERS:
        parts = replace(parts, driver=None)
    adapter = _ADAPTERS.get(choose(parts))
    if adapter is None:
        raise CannotAsk(f"no driver for {parts.dialect} is known here")
    if parts.dialect == "postgresql" and len(parts.hosts) > 1 and parts.option("target_session_attrs") is None:
        parts = replace(parts, query=(*parts.query, ("target_session_attrs", "read-write")))
    return adapter(parts, timeout_s, application)


def choose(parts: DatabaseUrl) -> str:
    """Return the driver: the one that the URL names, else the first that is installed. Raises CannotAsk."""
    candidates = _DEFAULTS.get(parts.dialect, ())
    if parts.driver is not None:
        return parts.driver
    for name in candidates:
        if name == "pysqlite" or importlib.util.find_spec(name) is not None:
            return name
    if candidates:
        raise CannotAsk(f"no driver for {parts.dialect} is installed: one of {', '.join(candidates)}")
    return parts.dialect


class _ThroughSqlalchemy:
    """A connection of SQLAlchemy's, in autocommit, for any driver it knows. What it does not know is unreachable."""

    told_id: int | None = None

    def __init__(self, url: str) -> None:
        import sqlalchemy

        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
        if engine.dialect.is_async:
            raise CannotAsk(f"no way to ask through the asynchronous driver {engine.dialect.driver}")
        self._connection: Any = engine.connect()

    def execute(self, sql: str, values: tuple[object, ...]) -> Rows:
        if values:
            raise CannotAsk("values are not given through SQLAlchemy")  # each driver has its own placeholders
        result = self._connection.exec_driver_sql(sql)
        return [tuple(row) for row in result] if result.returns_rows else []

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._connection.close()


# SQLAlchemy's names for drivers. Its own default is tried first; PostgreSQL's changed with 2.1 to psycopg.
_DEFAULTS = {
    "sqlite": ("pysqlite",),
    "postgresql": ("psycopg", "psycopg2", "asyncpg"),
    "mysql": ("MySQLdb", "pymysql", "aiomysql", "asyncmy"),
    "mariadb": ("MySQLdb", "pymysql", "aiomysql", "asyncmy"),
}
_ADAPTERS: dict[str | None, Connect] = {
    "pysqlite": Sqlite,
    "aiosqlite": Sqlite,
    "psycopg": Psycopg,
    "psycopg_async": Psycopg,
    "psycopg2": Psycopg2,
    "asyncpg": Asyncpg,
    "pymysql": PyMySQL,
    "mysqldb": MySQLdb,
    "MySQLdb": MySQLdb,
    "aiomysql": Aiomysql,
    "asyncmy": Asyncmy,
}
