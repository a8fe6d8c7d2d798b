"""Does a Redis server answer?

Three words of its protocol (RESP 2, redis.io/docs/reference/protocol-spec) need no client library, and neither a pool
nor retries, which would hide what is asked here.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

_PORT = 6379
_MOST_BYTES = 4096  # of one answer: a line


class NotWell(Exception):
    """The server refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where it is; `path` is a socket file's."""

    host: str = ""
    port: int = _PORT
    path: str = ""
    tls: bool = False
    login: tuple[str, ...] = field(default=(), repr=False)


def parse(url: str) -> Server:
    """Return what a URL says. Raises ValueError, without its password."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
    except ValueError:
        raise ValueError("the port of the URL is not a number") from None
    scheme = parts.scheme.lower()
    login = tuple(unquote(word) for word in (parts.username, parts.password) if word)
    if scheme in {"unix", "redis+unix"} and parts.path:
        options = parse_qs(parts.query)
        return Server(path=unquote(parts.path), login=login or tuple(options.get("password", ())))
    if scheme not in {"redis", "rediss"} or not parts.hostname:
        raise ValueError("not an address of Redis: redis://user:password@host:6379, rediss://..., redis+unix:///path")
    return Server(host=parts.hostname, port=port, tls=scheme == "rediss", login=login)


def ping(server: Server, timeout_s: float) -> None:
    """Log in and say PING. Raises NotWell or OSError."""
    with _connected(server, timeout_s) as connection:
        if server.login:
            _ask(connection, "AUTH", *server.login)
        _ask(connection, "PING")


def _connected(server: Server, timeout_s: float) -> socket.socket:
    if not server.path:
        connection = socket.create_connection((server.host, server.port), timeout_s)
        if server.tls:
            return ssl.create_default_context().wrap_socket(connection, server_hostname=server.host)
        return connection
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(server.path)
    except OSError:
        connection.close()
        raise
    return connection


def _ask(connection: socket.socket, *words: str) -> None:
    encoded = [word.encode() for word in words]
    parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
    connection.sendall(b"*%d\r\n%s" % (len(encoded), parts))
    answer = b""
    while not answer.endswith(b"\r\n") and len(answer) < _MOST_BYTES:
        if not (more := connection.recv(_MOST_BYTES)):
            raise NotWell("the server ended the connection")
        answer += more
    if not answer.startswith(b"+"):
        raise NotWell(answer.decode(errors="replace").strip().removeprefix("-")[:200])
