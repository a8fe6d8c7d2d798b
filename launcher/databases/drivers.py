"""How is one question asked through each driver?

The arguments are those SQLAlchemy makes of the same URL (its dialects' `create_connect_args`), so that a URL that works
in the application works here. A driver that is not listed is used through SQLAlchemy itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from launcher.databases.errors import CannotAsk, TableMissing
from launcher.databases.url import DatabaseUrl

Rows = list[tuple[object, ...]]
Ask = Callable[[DatabaseUrl, str, float], Rows]

_APPLICATION = "asgi-launcher"
_POOL_OF_SQLALCHEMY = ("prepared_statement", "async_fallback")  # its own options, not the driver's
_TRUE = {"1", "true", "yes", "on"}


def ask_driver(url: str, parts: DatabaseUrl, sql: str, timeout_s: float) -> Rows:
    """Return the rows. Raises CannotAsk, TableMissing, and whatever the driver raises."""
    driver = choose(parts)
    function = _BY_DRIVER.get(driver)
    if function is None:
        return _through_sqlalchemy(url, sql)
    return function(parts, sql, timeout_s)


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


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CannotAsk(f"the driver {name} cannot be imported: {error}") from None


def _sqlite(parts: DatabaseUrl, sql: str, timeout_s: float) -> Rows:
    import sqlite3

    path = parts.database
    if path in {"", ":memory:"}:
        raise TableMissing("a database in memory begins empty")
    if path.startswith("file:"):
        raise CannotAsk("a SQLite file: URI cannot be read without its options")
    if not Path(path).exists():
        raise TableMissing(f"there is no file {path}")
    # rw creates no file either; unlike ro it reads a database in WAL mode or with a hot journal (sqlite.org/wal.html)
    name = f"file:{quote(str(Path(path).absolute()))}?mode=rw"
    connection = sqlite3.connect(name, uri=True, timeout=timeout_s, isolation_level=None)
    try:
        return [tuple(row) for row in connection.execute(sql)]
    finally:
        connection.close()


def _libpq_arguments(parts: DatabaseUrl, timeout_s: float) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "connect_timeout": max(2, math.ceil(timeout_s)),  # whole seconds, at least 2 (libpq's manual)
        "fallback_application_name": _APPLICATION,
    }
    if parts.hosts:
        arguments["host"] = ",".join(host for host, _ in parts.hosts)
        if any(port for _, port in parts.hosts):
            arguments["port"] = ",".join(str(port or "") for _, port in parts.hosts)
    given = {"user": parts.user, "password": parts.password, "dbname": parts.database or None}
    return arguments | {name: value for name, value in given.items() if value is not None} | dict(parts.query)


def _psycopg(parts: DatabaseUrl, sql: str, timeout_s: float) -> Rows:
    psycopg = _import("psycopg")
    with psycopg.connect(autocommit=True, **_libpq_arguments(parts, timeout_s)) as connection:
        return [tuple(row) for row in connection.execute(sql).fetchall()]


def _psycopg2(parts: DatabaseUrl, sql: str, timeout_s: float) -> Rows:
    connection = _import("psycopg2").connect(**_libpq_arguments(parts, timeout_s))
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()]
    finally:
        connection.close()


def _asyncpg(parts: DatabaseUrl, sql: str, timeout_s: float) -> Rows:
    import asyncio

    asyncpg = _import("asyncpg")
    arguments: dict[str, Any] = {"user": parts.user, "password": parts.password, "database": parts.database or None}
    if parts.hosts:
        arguments["host"] = [host for host, _ in parts.hosts]
        arguments["port"] = [port or 5432 for _, port in parts.hosts]
    for name, value in parts.query:
        if not name.startswith(_POOL_OF_SQLALCHEMY):
            arguments[name] = float(value) if name.endswith("timeout") else value

    async def question() -> Rows:
        # No cache: behind PgBouncer a prepared statement may be another server connection's (asyncpg's FAQ).
        connection = await asyncpg.connect(**({"timeout": timeout_s, "statement_cache_size": 0} | arguments))
        try:
            return [tuple(row) for row in await connection.fetch(sql, timeout=timeout_s)]
        finally:
            await connection.close(timeout=timeout_s)

    return asyncio.run(question())


def _mysql_arguments(parts: DatabaseUrl, timeout_s: float) -> dict[str, Any]:
    host, port = parts.hosts[0] if parts.hosts else ("localhost", None)
    arguments: dict[str, Any] = {"host": host, "port": port or 3306, "user": parts.user}
    arguments |= {"password": parts.password or "", "connect_timeout": max(1, math.ceil(timeout_s))}
    tls: dict[str, Any] = {}
    for name, value in parts.query:
        if name.startswith("ssl_"):
            tls[name[4:]] = value.lower() in _TRUE if name == "ssl_check_hostname" else value
        else:
            arguments[name] = int(value) if name.endswith(("_timeout", "_flag")) else value
    return arguments | ({"ssl": tls} if tls else {})


def _mysql(module: str, database: str) -> Ask:
    """Return the question through a driver after DB-API 2.0; `database` is how it names that argument."""

    def question(parts: DatabaseUrl, sql: str, timeout_s: float) -> Rows:
        arguments = _mysql_arguments(parts, timeout_s) | {database: parts.database or None}
        connection = _import(module).connect(**{name: value for name, value in arguments.items() if value is not None})
        try:
            connection.autocommit(True)  # noqa: FBT003 - the driver's own signature
            cursor = connection.cursor()
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            connection.close()

    return question


def _mysql_async(module: str) -> Ask:
    """Return the question through aiomysql or asyncmy, which share their interface."""

    def question(parts: DatabaseUrl, sql: str, timeout_s: float) -> Rows:
        import asyncio

        driver = _import(module)
        arguments = _mysql_arguments(parts, timeout_s) | {"db": parts.database, "autocommit": True}

        async def asked() -> Rows:
            connection = await driver.connect(**arguments)
            try:
                async with connection.cursor() as cursor:
                    await cursor.execute(sql)
                    return [tuple(row) for row in await cursor.fetchall()]
            finally:
                connection.close()

        return asyncio.run(asked())

    return question


def _through_sqlalchemy(url: str, sql: str) -> Rows:
    """Ask through SQLAlchemy. What it does not know either is unreachable."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
    if engine.dialect.is_async:
        raise CannotAsk(f"no way to ask through the asynchronous driver {engine.dialect.driver}")
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


# SQLAlchemy's names for drivers. Its own default is tried first; PostgreSQL's changed with 2.1 to psycopg.
_DEFAULTS = {
    "sqlite": ("pysqlite",),
    "postgresql": ("psycopg", "psycopg2", "asyncpg"),
    "mysql": ("MySQLdb", "pymysql", "aiomysql", "asyncmy"),
    "mariadb": ("MySQLdb", "pymysql", "aiomysql", "asyncmy"),
}
_BY_DRIVER: dict[str, Ask] = {
    "pysqlite": _sqlite,
    "aiosqlite": _sqlite,
    "psycopg": _psycopg,
    "psycopg_async": _psycopg,
    "psycopg2": _psycopg2,
    "asyncpg": _asyncpg,
    "pymysql": _mysql("pymysql", "database"),
    "mysqldb": _mysql("MySQLdb", "database"),
    "MySQLdb": _mysql("MySQLdb", "database"),
    "aiomysql": _mysql_async("aiomysql"),
    "asyncmy": _mysql_async("asyncmy"),
}
