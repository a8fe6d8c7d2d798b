"""What does a launcher answer?

HTTP/1.0 over a connection to the management socket: the answer ends with the connection, so that thirty lines read it
and a probe does not pay for an HTTP library.
"""

from __future__ import annotations

import socket
import time
from typing import NamedTuple

from launcher.instances.management_socket import connect

_MOST_BYTES = 16 << 20  # of an answer: 256 slots with every request in flight are below 10 MiB
_PIECE = 1 << 16
_AGAIN_S = 0.05


class Reply(NamedTuple):
    """The status code (200, 503 ...) and the body of an answer; a tuple as `runtime_places.Place` is one."""

    status: int
    body: bytes


def get(address: str, target: str, wait_s: float = 5.0) -> Reply:
    """Return what the launcher at `address` answers to GET `target`.

    Asks again when the connection breaks: a monitor that was killed is back within two seconds, and the socket waits
    for it. Raises OSError after `wait_s`, and at once when nobody listens.
    """
    deadline = time.monotonic() + wait_s
    while True:
        left_s = max(deadline - time.monotonic(), _AGAIN_S)
        try:
            with connect(address, left_s) as client:
                return ask(client, target, wait_s=left_s)
        except (ConnectionResetError, BrokenPipeError):
            if time.monotonic() + _AGAIN_S > deadline:
                raise
            time.sleep(_AGAIN_S)


def ask(client: socket.socket, target: str, *, body: bytes | None = None, wait_s: float | None = None) -> Reply:
    """GET `target`, or POST `body` (JSON) to it, and return the answer.

    `wait_s`: how long in all; None: as long as it takes. Raises TimeoutError, or ConnectionError when the other end
    went away or what it said is no answer.
    """
    deadline = None if wait_s is None else time.monotonic() + wait_s
    client.settimeout(wait_s)
    client.sendall(_request(target, body))
    said = bytearray()
    while piece := _receive(client, deadline):
        said += piece
        if len(said) > _MOST_BYTES:
            raise ConnectionError(f"answered more than {_MOST_BYTES} bytes")
    return _understood(bytes(said))


def _request(target: str, body: bytes | None) -> bytes:
    head = f"{'GET' if body is None else 'POST'} {target} HTTP/1.0\r\nHost: launcher\r\nConnection: close\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode("ascii") + b"\r\n" + (body or b"")


def _receive(client: socket.socket, deadline: float | None) -> bytes:
    if deadline is not None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        client.settimeout(left_s)
    return client.recv(_PIECE)


def _understood(said: bytes) -> Reply:
    """Take the answer apart; one that was cut off is none."""
    if not said:
        raise ConnectionResetError("closed the connection without an answer")
    head, end, body = said.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    words = lines[0].split(None, 2)
    if not end or len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():  # noqa: PLR2004 - version, status
        raise ConnectionError("answered something else than HTTP")
    told = next((line[15:].strip() for line in lines if line.lower().startswith(b"content-length:")), None)
    if told is not None and (not told.isdigit() or len(body) < int(told)):
        raise ConnectionResetError("broke off in the middle of its answer")
    return Reply(int(words[1]), body if told is None else body[: int(told)])
