"""How is one Redis server spoken to, and what does its refusal mean?

One connection, without the client of redis-py around it: that one connects again and tries again by itself, and a lock
must not. No pool, no retries, no health check, a deadline on every answer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import quote, unquote, urlsplit

from launcher.errors import UsageError
from launcher.locks import LockCrowded, LockUnreachable
from launcher.redact import MASK, redact

CURE = "--lock redis://user:password@host:6379/0 (LAUNCHER_LOCK); rediss:// for TLS, redis+unix:///path for a socket"
CONNECT_S = 5.0
_SCHEMES = {"redis": "redis", "rediss": "rediss", "redis+unix": "unix"}  # ours, and what redis-py calls it
# Options of redis-py's URLs that applications write for their pools; here they are decided.
_OURS = ("max_connections", "retry_on_timeout", "retry_on_error", "decode_responses", "timeout", "legacy_responses")
_SOON = ("MISCONF", "NOREPLICAS", "BUSY")  # refusals of a server that may get over them (redis.io, errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server is. `url` as redis-py reads it, with its password; `shown` without."""

    url: str
    shown: str


def address(scheme: str, rest: str) -> Address:
    """Return the address that `--lock scheme:rest` means. Raises UsageError, without the password."""
    shown = redact(f"{scheme}:{rest}")
    ours = _SCHEMES.get(scheme.lower())
    if ours is None or not rest.startswith("//") or not _complete(f"{ours}:{rest}"):
        raise UsageError(f"{shown!r} is not the address of a Redis server", cure=CURE)
    return Address(url=f"{ours}:{rest}", shown=shown)


def _complete(url: str) -> bool:
    """Tell whether redis-py would take every part: it reads a path that is no number as database 0."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text is not shown: what is no port may be half a password
        return False
    path = parts.path.strip("/")
    return path != "" if parts.scheme == "unix" else port != 0 and (path.isdecimal() or not path)


class _Connection(Protocol):
    """What is used of redis-py's connections, which have no types of their own."""

    _sock: socket.socket | None

    def connect(self) -> None: ...

    def send_command(self, *words: str | float) -> None: ...

    def read_response(self) -> Any: ...

    def disconnect(self) -> None: ...


class Server:
    """An open connection. What it raises says what the refusal means for somebody who wants a lock."""

    def __init__(self, where: Address, *, name: str, answer_s: float) -> None:
        """Connect, as the client `name` (no spaces), waiting `answer_s` seconds for each answer.

        Raises UsageError, LockUnreachable, LockCrowded.
        """
        self._where = where
        try:
            self._connection = _connection(where.url, name, answer_s)
            self._connection.connect()
        except Exception as error:  # noqa: BLE001 - sockets, TLS and redis-py each have their own; the text may hold secrets
            raise meaning(error, where) from None

    def ask(self, *words: str | float) -> Any:
        """Return the answer to one command. Raises as the making does; after LockUnreachable it is not to be used."""
        from redis.exceptions import ConnectionError as Broken

        try:
            if self.fileno() is None:
                raise Broken("the connection was closed")  # noqa: TRY301 - sending would open another one
            self._connection.send_command(*words)
            return self._connection.read_response()
        except Exception as error:  # noqa: BLE001 - as above
            raise meaning(error, self._where) from None

    def run(self, script: str, keys: tuple[str, str], *values: str | float) -> Any:
        """Return what a script returns; always sent as a whole: a server that was restarted has forgotten it."""
        return self.ask("EVAL", script, len(keys), *keys, *values)

    def fileno(self) -> int | None:
        """Return the socket's descriptor, readable when the server ends the connection; None when it is closed."""
        opened = self._connection._sock  # noqa: SLF001 - redis-py does not show it otherwise
        return None if opened is None else opened.fileno()

    def close(self) -> None:
        """Let go of the socket."""
        self._connection.disconnect()


def meaning(error: Exception, where: Address) -> UsageError | LockUnreachable | LockCrowded:
    """Return what a refusal means; its text is without the password."""
    from redis import exceptions as said

    text = _concealed(str(error), where.url)
    if isinstance(error, said.OutOfMemoryError) or "max number of clients" in text:
        return LockCrowded(f"{where.shown}: {text}")
    if (cure := _cure(error)) is None or text.startswith(_SOON):
        return LockUnreachable(f"{where.shown}: {text}")
    return UsageError(f"the lock {where.shown} cannot be used: {text}", cure=cure)


def _cure(error: Exception) -> str | None:
    """Return what helps; None where it may be enough to try again."""
    from redis import exceptions as said

    if isinstance(error, (said.AuthenticationError, said.NoPermissionError)):
        return "--lock URL (LAUNCHER_LOCK) with a user and password that may run scripts and INFO"
    if isinstance(error, said.ReadOnlyError):
        return "name the primary: what a replica is told is forgotten"
    if isinstance(error, said.MasterDownError):
        return None
    if isinstance(error, (said.AskError, said.ClusterError)):
        return "a single Redis server, or the lock of a database: --lock postgresql://..."
    return None if isinstance(error, (said.ConnectionError, said.TimeoutError, OSError)) else CURE


def _connection(url: str, name: str, answer_s: float) -> _Connection:
    """Return a connection that is not open yet."""
    from redis.backoff import NoBackoff
    from redis.connection import Connection, parse_url
    from redis.retry import Retry

    parse = cast("Callable[[str], dict[str, Any]]", parse_url)
    options = {key: value for key, value in parse(url).items() if key not in _OURS}
    kind: Callable[..., _Connection] = options.pop("connection_class", Connection)
    options |= {
        "client_name": name,
        "socket_timeout": answer_s,
        "socket_connect_timeout": CONNECT_S,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,  # nothing is pushed: what can be read is an answer, or the end
        "decode_responses": True,
        "encoding": "utf-8",
        "encoding_errors": "replace",
    }
    return kind(**options)


def _concealed(text: str, url: str) -> str:
    """Return a text of redis-py's or the server's without the password, in whatever spelling."""
    password = urlsplit(url).password or ""
    for spelling in {password, unquote(password), quote(unquote(password), safe="")} - {""}:
        text = text.replace(spelling, MASK)
    return redact(text)
