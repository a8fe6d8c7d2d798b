"""How are MySQL and MariaDB spoken to through each of their drivers?

The arguments are those SQLAlchemy makes of the same URL (its dialects' `create_connect_args`), so that a URL that works
in the application works here; only the text is always utf8mb4. What the drivers raise has the server's number in
`args[0]`.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
from typing import Any

from launcher.databases.imports import driver
from launcher.databases.session import Rows
from launcher.databases.url import DatabaseUrl

_TLS = {"ssl_ca", "ssl_key", "ssl_cert", "ssl_capath", "ssl_cipher", "ssl_check_hostname"}  # as SQLAlchemy's mysqldb.py
_FLAGS = {"compress", "local_infile", "use_unicode"}
_OURS = {"charset", "collation", "autocommit"}
_TRUE = {"1", "true", "yes", "on"}
_QUIT = b"\x01\x00\x00\x00\x01"  # COM_QUIT of the client/server protocol: without it the server logs a lost connection


class PyMySQL:
    """A connection of PyMySQL; keeps `launcher.databases.session.Connection`."""

    def __init__(self, parts: DatabaseUrl, timeout_s: float, application: str | None) -> None:
        """Connect."""
        self._connection = self._connected(mysql_arguments(parts, timeout_s) | _shown(application))
        self.told_id: int | None = self._connection.thread_id()

    def _connected(self, arguments: dict[str, Any]) -> Any:
        return driver("pymysql").connect(**arguments)

    def execute(self, sql: str, values: tuple[object, ...]) -> Rows:
        """See `Connection.execute`."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql, values or None)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            cursor.close()

    def fileno(self) -> int | None:
        """See `Connection.fileno`."""
        return _descriptor(self._connection._sock)  # noqa: SLF001 - the only way to its socket

    def close(self) -> None:
        """See `Connection.close`: it writes five bytes and reads nothing."""
        self._connection.close()


class MySQLdb(PyMySQL):
    """A connection of mysqlclient, whose interface is the same; it has no place for our name."""

    def _connected(self, arguments: dict[str, Any]) -> Any:
        arguments.pop("program_name", None)
        connection = driver("MySQLdb").connect(**arguments)
        os.set_inheritable(connection.fileno(), False)  # noqa: FBT003 - os's own signature; libmysqlclient leaves it open
        # While it is asked it tells no descriptor, after a loss one that is closed: so we have a copy.
        self._plug = socket.socket(fileno=os.dup(connection.fileno()))
        return connection

    def fileno(self) -> int | None:
        """See `Connection.fileno`."""
        return _descriptor(self._plug)

    def close(self) -> None:
        """See `Connection.close`. Reading ends first: with TLS the library would wait for the server's good-bye."""
        with self._plug, contextlib.suppress(OSError):
            self._plug.shutdown(socket.SHUT_RD)
        self._connection.close()


class Asynchronous:
    """A connection of aiomysql or asyncmy, which share their interface, in a loop of its own."""

    module: str

    def __init__(self, parts: DatabaseUrl, timeout_s: float, application: str | None) -> None:
        """Connect; the time is for the handshake as well."""
        from launcher.databases.loop import PrivateLoop  # asyncio: 30 ms that other drivers save

        self._loop = PrivateLoop()
        arguments = mysql_arguments(parts, timeout_s) | _shown(application)
        try:
            self._connection = self._loop.run(self._connected(arguments, timeout_s))
        except BaseException:
            self._loop.close()
            raise
        self.told_id: int | None = self._connection.thread_id()

    async def _connected(self, arguments: dict[str, Any], timeout_s: float) -> Any:
        import asyncio

        return await asyncio.wait_for(driver(self.module).connect(**arguments), timeout_s)

    def execute(self, sql: str, values: tuple[object, ...]) -> Rows:
        """See `Connection.execute`."""
        return self._loop.run(self._asked(sql, values))

    async def _asked(self, sql: str, values: tuple[object, ...]) -> Rows:
        async with self._connection.cursor() as cursor:
            await cursor.execute(sql, values or None)
            return [tuple(row) for row in await cursor.fetchall()] if cursor.description else []

    def transport(self) -> Any:
        """Return asyncio's transport, None once it is closed."""
        return self._connection._transport  # noqa: SLF001 - the only way to its socket

    def fileno(self) -> int | None:
        """See `Connection.fileno`."""
        transport = self.transport()
        return _descriptor(transport.get_extra_info("socket")) if transport else None

    def close(self) -> None:
        """See `Connection.close`."""
        self._loop.close(self._let_go)

    def _let_go(self) -> None:
        transport = self.transport()
        if transport is not None:
            transport.write(_QUIT)
            transport.abort()  # close() would wait until all is sent
        self._connection.close()


class Aiomysql(Asynchronous):
    """aiomysql."""

    module = "aiomysql"

    async def _connected(self, arguments: dict[str, Any], timeout_s: float) -> Any:
        own = {"db" if name == "database" else name: value for name, value in arguments.items()}
        if isinstance(own.get("ssl"), dict):
            own["ssl"] = _tls_context(own["ssl"])
        return await super()._connected(own, timeout_s)

    def transport(self) -> Any:
        """Return asyncio's transport, None once it is closed."""
        writer = self._connection._writer  # noqa: SLF001 - the only way to its socket
        return writer.transport if writer else None


class Asyncmy(Asynchronous):
    """asyncmy."""

    module = "asyncmy"


def mysql_arguments(parts: DatabaseUrl, timeout_s: float) -> dict[str, Any]:
    """Return the keywords that the drivers share."""
    host, port = parts.hosts[0] if parts.hosts else ("localhost", None)
    arguments: dict[str, Any] = {"host": host, "port": port or 3306, "password": parts.password or ""}
    arguments |= {name: value for name, value in (("user", parts.user), ("database", parts.database)) if value}
    arguments |= {"connect_timeout": max(1, math.ceil(timeout_s)), "autocommit": True, "charset": "utf8mb4"}
    tls: dict[str, Any] = {}
    for name, value in parts.query:
        if name in _TLS:
            tls[name[4:]] = value.lower() in _TRUE if name == "ssl_check_hostname" else value
        elif name not in _OURS:
            arguments[name] = _typed(name, value)
    return arguments | ({"ssl": tls} if tls else {})


def _shown(application: str | None) -> dict[str, Any]:
    """Return the keyword that tells the server our name (performance_schema.session_connect_attrs)."""
    return {"program_name": application} if application else {}


def _typed(name: str, value: str) -> object:
    if name in _FLAGS:
        return value.lower() in _TRUE
    return int(value) if name.endswith(("_timeout", "_flag")) else value


def _descriptor(holder: Any) -> int | None:
    """Return what `fileno()` tells; None for nothing and for what is closed."""
    descriptor: int = -1 if holder is None else holder.fileno()
    return descriptor if descriptor >= 0 else None


def _tls_context(options: dict[str, Any]) -> Any:
    """Return for aiomysql what PyMySQL makes of the same options: without an authority the server is not checked."""
    import ssl

    checked = "ca" in options or "capath" in options
    context = ssl.create_default_context(cafile=options.get("ca"), capath=options.get("capath"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # certificates that MySQL makes for itself do not pass it
    context.check_hostname = checked and options.get("check_hostname", True)
    context.verify_mode = ssl.CERT_REQUIRED if checked else ssl.CERT_NONE
    if "cert" in options:
        context.load_cert_chain(options["cert"], options.get("key"))
    return context
