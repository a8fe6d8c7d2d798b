"""How is a connection kept and spoken to, whichever driver made it?

One thread at a time, not always the same one. Every statement is a transaction of its own (autocommit) and nothing is
prepared on the server. Asynchronous drivers run in an event loop that belongs to the connection and turns only while it
is asked.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Protocol

from launcher.databases.errors import DatabaseUnreachable, TableMissing

Rows = list[tuple[object, ...]]
_NO_DATABASE = 1049  # ER_BAD_DB_ERROR


class Connection(Protocol):
    """What each driver's adapter does. It raises whatever its driver raises."""

    told_id: int | None  # the number the server gave us when we connected; a pooler between gives another one

    def execute(self, sql: str, values: tuple[object, ...]) -> Rows:
        """Carry out one statement with `%s` for each value; return its rows, none for what returns none.

        With values a percent sign is written `%%`, without it stands for itself.
        """

    def fileno(self) -> int | None:
        """Return the socket's descriptor, readable when the server ends the session; None where it is not to be had."""

    def close(self) -> None:
        """Let go of the socket, without waiting for the server."""


class Session:
    """A connection whose errors are told as this package does, without the password."""

    def __init__(self, connection: Connection, url: str, dialect: str) -> None:
        """Take over an open connection."""
        self._connection, self._url, self.dialect = connection, url, dialect
        self._busy, self._closed = threading.Lock(), False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def told_id(self) -> int | None:
        """The number of the session that the server told at the connection."""
        return self._connection.told_id

    def execute(self, sql: str, *values: object) -> Rows:
        """Return the rows. Raises DatabaseUnreachable (with the server's `code`) and TableMissing."""
        try:
            with self._busy:
                return self._asked(sql, values)
        finally:
            if self._closed:  # while we were asking: see `close`
                self.close()

    def _asked(self, sql: str, values: tuple[object, ...]) -> Rows:
        from launcher.databases import translated

        if self._closed:
            raise DatabaseUnreachable("the connection was closed")
        try:
            return self._connection.execute(sql, values)
        except Exception as error:  # noqa: BLE001 - every driver has its own; `from None`: its text may hold the password
            told = translated(error, self._url)
            if getattr(told, "code", None) == _NO_DATABASE:  # we are connected: the statement names another one
                told = TableMissing(str(told))
            raise told from None

    def fileno(self) -> int | None:
        """Return the socket's descriptor; None after the end."""
        with contextlib.suppress(Exception):
            return self._connection.fileno()
        return None

    def close(self) -> None:
        """Let go of it at once; whatever the driver says about that helps nobody.

        A question that another thread is still waiting with ends with an error, and lets go when it has.
        """
        self._closed = True
        if not self._busy.acquire(blocking=False):
            self._cut()
            return
        try:
            with contextlib.suppress(Exception):
                self._connection.close()
        finally:
            self._busy.release()

    def _cut(self) -> None:
        """End the conversation under a driver that is waiting: closing its descriptor would not wake it."""
        descriptor = self.fileno()
        if descriptor is None:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=_copy(descriptor)) as plug:
            plug.shutdown(socket.SHUT_RDWR)


def _copy(descriptor: int) -> int:
    import os

    return os.dup(descriptor)


def open_session(url: str, *, connect_timeout_s: float, application: str) -> Session:
    """Connect. Raises as `launcher.databases.ask`; Crowded and Denied tell two refusals apart.

    `application` is what the server shows the session as (PostgreSQL: 63 bytes). May block for longer than the time.
    """
    from launcher.databases import connected

    return connected(url, connect_timeout_s=connect_timeout_s, application=application)
