"""What is this worker answering right now?

A table in the worker's slot of the scoreboard: method, path and start of each request under way, so that a report of
the worker's death can name them. An entry is there while its method is; the path is cut, and there is never a query.

WebSockets have entries of their own: they last, and a few dozen of them would hide the request that kills.
"""

from __future__ import annotations

import mmap
import re
import struct
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from launcher.scoreboard import Slot

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[Any]]

REQUESTS, WEBSOCKETS = 28, 4  # entries; together a page

_ENTRY = struct.Struct("@d112s8s")  # start, path, method: last, so that an entry is there when the rest of it is
_METHOD_AT = 120
_ENTRIES = REQUESTS + WEBSOCKETS
# RFC 9110 §9.1 and PATCH. Looking the bytes up takes half the time of encoding.
_METHODS = {
    method: method.encode()
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")
}
_WEBSOCKET = b"WS"
_AUTHORITY = re.compile("://[^/]*")  # of `GET http://user:password@host/path` (RFC 9112 §3.2.2)


@dataclass(frozen=True, slots=True)
class InFlight:
    """A request under way: method (WS for a WebSocket), path (its first 112 bytes, without query and host), age."""

    method: str
    path: str
    age_s: float


def watched(app: App, slot: Slot, others: App | None = None) -> App:
    """Return `app` with each request noted in `slot` while it lasts, and counted (`slot.counted()`) when it has ended.

    A request that finds the table full is only counted; what is neither http nor websocket goes to `others`, or to
    `app`. One event loop may call it. Every statement in `call` is paid for by each request
    (tests/benchmarks/bench_scoreboard.py).
    """
    count = 0
    memory, now, pack, methods = slot.memory, time.monotonic, _ENTRY.pack_into, _METHODS
    marks = memoryview(memory)[_METHOD_AT:]  # marks[at]: the first byte of the method of the entry that begins at `at`
    entries = [slot.requests_at + index * _ENTRY.size for index in range(_ENTRIES)]
    free, free_for_websockets = entries[:REQUESTS], entries[REQUESTS:]
    unusual = (LookupError, struct.error)  # a table that is full, a key that is not there, a path that is None

    async def call(scope: Scope, receive: Receive, send: Send) -> Any:
        nonlocal count
        try:
            pack(memory, free[-1], now(), scope["raw_path"], methods[scope["method"]])
        except unusual:
            pass  # and on outside: what the application raises would name this as its context
        else:
            at = free.pop()
            try:
                return await app(scope, receive, send)
            finally:
                marks[at] = 0
                free.append(at)
                count += 1
        return await call_unusual(scope, receive, send)

    async def call_unusual(scope: Scope, receive: Receive, send: Send) -> Any:
        nonlocal count
        if scope["type"] not in {"http", "websocket"}:
            return await (others or app)(scope, receive, send)
        mine = free if scope["type"] == "http" else free_for_websockets
        at = mine.pop() if mine else None
        try:
            if at is not None:
                pack(memory, at, now(), *_path_and_method(scope))
            return await app(scope, receive, send)
        finally:
            if at is not None:
                marks[at] = 0
                mine.append(at)
            count += 1

    slot.counted = lambda: count
    return call


def _path_and_method(scope: Scope) -> tuple[bytes, bytes]:
    path = scope.get("raw_path") or str(scope.get("path", "")).encode(errors="replace")
    method = _WEBSOCKET if scope["type"] == "websocket" else str(scope.get("method", "?")).encode(errors="replace")
    return path.partition(b"?")[0], method


def in_flight(memory: mmap.mmap, start: int) -> tuple[InFlight, ...]:
    """Return what the table at `start` of the memory of a board holds, the oldest first.

    An entry that is being written or cleared is not among them: it is of a request that began, or ended, just now.
    """
    found = []
    for at in range(start, start + _ENTRIES * _ENTRY.size, _ENTRY.size):
        began_s, path, method = entry = _ENTRY.unpack_from(memory, at)
        age_s = time.monotonic() - began_s
        if method[0] and 0 <= age_s < time.monotonic() and entry == _ENTRY.unpack_from(memory, at):
            found.append(InFlight(_text(method), _AUTHORITY.sub("://***", _text(path).partition("?")[0]), age_s))
    return tuple(sorted(found, key=lambda request: -request.age_s))


def _text(raw: bytes) -> str:
    text = raw.rstrip(b"\0").decode(errors="replace")
    return text if text.isprintable() else ascii(text)  # a terminal obeys what it is sent, and anybody may send it
