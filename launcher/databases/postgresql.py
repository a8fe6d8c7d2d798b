"""How is PostgreSQL spoken to through each of its drivers?

The arguments are those SQLAlchemy makes of the same URL (its dialects' `create_connect_args`), so that a URL that works
in the application works here. Nothing is prepared on the server: behind a pooler the next question may be another
server connection's (asyncpg's FAQ).
"""

from __future__ import annotations

import math
from typing import Any

from launcher.databases.imports import driver
from launcher.databases.session import Rows
from launcher.databases.url import DatabaseUrl

_APPLICATION = "asgi-launcher"
_POOL_OF_SQLALCHEMY = ("prepared_statement", "async_fallback")  # its own options, not the driver's


class Psycopg:
    """A connection of psycopg 3; keeps `launcher.databases.session.Connection`."""

    def __init__(self, parts: DatabaseUrl, timeout_s: float, application: str | None) -> None:
        """Connect."""
        arguments = libpq_arguments(parts, timeout_s, application) | {"prepare_threshold": None}
        self._connection = driver("psycopg").connect(autocommit=True, **arguments)
        self.told_id: int | None = self._connection.info.backend_pid

    def execute(self, sql: str, values: tuple[object, ...]) -> Rows:
        """See `Connection.execute`."""
        cursor = self._connection.execute(sql, values or None)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def fileno(self) -> int | None:
        """See `Connection.fileno`."""
        return int(self._connection.fileno())

    def close(self) -> None:
        """See `Connection.close`: PQfinish writes one byte's message and waits for nothing."""
        self._connection.close()


class Psycopg2:
    """A connection of psycopg2; keeps `launcher.databases.session.Connection`."""

    def __init__(self, parts: DatabaseUrl, timeout_s: float, application: str | None) -> None:
        """Connect."""
        self._connection = driver("psycopg2").connect(**libpq_arguments(parts, timeout_s, application))
        self._connection.autocommit = True
        self.told_id: int | None = self._connection.get_backend_pid()

    def execute(self, sql: str, values: tuple[object, ...]) -> Rows:
        """See `Connection.execute`."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def fileno(self) -> int | None:
        """See `Connection.fileno`."""
        return int(self._connection.fileno())

    def close(self) -> None:
        """See `Connection.close`."""
        self._connection.close()


class Asyncpg:
    """A connection of asyncpg, in a loop of its own; keeps `launcher.databases.session.Connection`."""

    def __init__(self, parts: DatabaseUrl, timeout_s: float, application: str | None) -> None:
        """Connect."""
        from launcher.databases.loop import PrivateLoop  # asyncio: 30 ms that other drivers save

        self._loop = PrivateLoop()
        try:
            arguments = asyncpg_arguments(parts, timeout_s, application)
            self._connection = self._loop.run(_connected(arguments))
        except BaseException:
            self._loop.close()
            raise
        self.told_id: int | None = self._connection.get_server_pid()

    def execute(self, sql: str, values: tuple[object, ...]) -> Rows:
        """See `Connection.execute`."""
        text = numbered(sql) if values else sql
        return [tuple(row) for row in self._loop.run(self._connection.fetch(text, *values))]

    def fileno(self) -> int | None:
        """See `Connection.fileno`."""
        transport = self._connection._transport  # noqa: SLF001 - the only way to its socket
        plug = transport.get_extra_info("socket") if transport else None
        return plug.fileno() if plug else None

    def close(self) -> None:
        """See `Connection.close`; asyncpg's own would wait for the server."""
        self._loop.close(self._connection.terminate)


async def _connected(arguments: dict[str, Any]) -> Any:
    return await driver("asyncpg").connect(**arguments)


def libpq_arguments(parts: DatabaseUrl, timeout_s: float, application: str | None) -> dict[str, Any]:
    """Return the keywords of libpq; without an `application` the URL and PGAPPNAME may name it."""
    arguments: dict[str, Any] = {
        "connect_timeout": max(2, math.ceil(timeout_s)),  # whole seconds, at least 2 (libpq's manual)
        "fallback_application_name": _APPLICATION,
        "client_encoding": "utf8",  # else the text of an SQL_ASCII database comes as bytes (psycopg's manual)
    }
    if parts.hosts:
        arguments["host"] = ",".join(host for host, _ in parts.hosts)
        if any(port for _, port in parts.hosts):
            arguments["port"] = ",".join(str(port or "") for _, port in parts.hosts)
    given = {"user": parts.user, "password": parts.password, "dbname": parts.database or None}
    arguments |= {name: value for name, value in given.items() if value is not None} | dict(parts.query)
    return arguments | ({"application_name": application} if application else {})


def asyncpg_arguments(parts: DatabaseUrl, timeout_s: float, application: str | None) -> dict[str, Any]:
    """Return the keywords of `asyncpg.connect`."""
    arguments: dict[str, Any] = {"user": parts.user, "password": parts.password, "database": parts.database or None}
    if parts.hosts:
        arguments["host"] = [host for host, _ in parts.hosts]
        arguments["port"] = [port or 5432 for _, port in parts.hosts]
    for name, value in parts.query:
        if not name.startswith(_POOL_OF_SQLALCHEMY):
            arguments[name] = float(value) if name.endswith("timeout") else value
    if application:
        arguments["server_settings"] = {"application_name": application}
    return {"timeout": timeout_s, "statement_cache_size": 0} | arguments


def numbered(sql: str) -> str:
    """Return the statement with `$1`, `$2` for each `%s`, and `%` for `%%`."""
    first, *rest = sql.split("%s")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))).replace("%%", "%")
