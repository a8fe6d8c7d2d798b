"""Does the application itself say that it is well?

`health_http`: a path that is asked for through the pool, as a client would, at the address the pool listens on.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.records import HealthCheck

NAME = "http"
_INTERVAL_S, _TIMEOUT_S = 5.0, 5.0
_WELL = range(200, 400)
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask who listens on all of them


class NotWell(Exception):
    """The application answers, and not with 2xx or 3xx."""


def own_check(plan: Mapping[str, Any]) -> HealthCheck:
    """Return the check of `health_http`."""
    return HealthCheck(NAME, _probe(plan), interval=_INTERVAL_S, timeout=_TIMEOUT_S)


def _probe(plan: Mapping[str, Any]) -> Callable[[], None]:
    path = "/" + str(plan["health_http"]).removeprefix("/")
    listen, tls = list(plan.get("listen", ())), bool(plan.get("tls"))

    def probe() -> None:
        status = _status(listen, path, tls=tls)
        if status not in _WELL:
            raise NotWell(f"GET {path} was answered with {status}")

    return probe


def _status(listen: Sequence[str], path: str, *, tls: bool) -> int:
    """Return the status of the answer. Raises OSError or http.client's errors."""
    try:
        return _asked(listen, path, tls=tls)
    except (ConnectionResetError, http.client.BadStatusLine) as closed:
        # The server may have got its certificate by options of its own (`-- --certfile`), of which we are not told.
        if not tls:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return _asked(listen, path, tls=True)
        raise closed from None


def _asked(listen: Sequence[str], path: str, *, tls: bool) -> int:
    connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT_S)
    connection.sock = _connected(listen, tls=tls)
    try:
        connection.request("GET", path, headers={"Connection": "close", "User-Agent": "asgi-launcher"})
        return connection.getresponse().status
    finally:
        connection.close()


def _connected(listen: Sequence[str], *, tls: bool) -> socket.socket:
    """Return a connection to the first address that takes one. Raises OSError."""
    last: OSError = OSError("the pool listens nowhere that is known")
    for address in listen:
        try:
            connected = _connect(address)
        except OSError as error:
            last = error
            continue
        return _unverified().wrap_socket(connected) if tls else connected
    raise last


def _connect(address: str) -> socket.socket:
    if address.startswith("unix:"):
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(_TIMEOUT_S)
        try:
            connected.connect(address.removeprefix("unix:"))
        except OSError:
            connected.close()
            raise
        return connected
    host, _, port = address.rpartition(":")
    if not port.isdecimal():  # an inherited descriptor, whose address nobody has said
        raise OSError(f"{address} cannot be asked")
    host = host.removeprefix("[").removesuffix("]")
    return socket.create_connection((_ANY.get(host, host), int(port)), _TIMEOUT_S)


def _unverified() -> ssl.SSLContext:
    """It is our own server, on this host: the certificate is for the name that clients use."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
