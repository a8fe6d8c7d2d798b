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

from launcher.tally import CLASSES, Counter

if TYPE_CHECKING:
    from launcher.scoreboard import Slot

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[Any]]

REQUESTS, WEBSOCKETS = 124, 4  # entries; together four pages. Thread pools of 40 (Starlette) fit three times

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


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Past a middleware that does nothing to a request with none of these `headers` (names): straight to `app`."""

    app: App
    headers: frozenset[bytes] = frozenset()


def watched(
    app: App, slot: Slot, others: App | None = None, *, by_status: bool = False, shortcut: Shortcut | None = None
) -> App:
    """Return `app` with each request noted in `slot` while it lasts, and by the slot's `counter` when it has ended.

    A request that finds the table full is only counted; what is neither http nor websocket goes to `others`, or to
    `app`. One event loop may call it. With `by_status` the tally tells requests by the class of their status, and each
    pays for that; without, for every statement in `call`: between two requests the caches forget, and a function of
    the interpreter's that nothing else calls costs more than its own time (tests/benchmarks/bench_serving.py).
    """
    table = _Table(slot)
    call_unusual = _unusual(app, table, others or app, by_status=by_status)
    if by_status:
        return call_unusual
    memory, free, took = slot.memory, table.free, table.counter.took_s.append
    now, pack, methods = time.monotonic, _ENTRY.pack_into, _METHODS
    direct, headers = (shortcut.app, shortcut.headers) if shortcut else (app, frozenset[bytes]())
    # A table that is full, a key that is not there, a path that is None, a header that is no pair.
    unusual = (LookupError, struct.error, TypeError, ValueError)

    async def call(scope: Scope, receive: Receive, send: Send) -> Any:
        try:
            pack(memory, free[-1], began_s := now(), scope["raw_path"], methods[scope["method"]])
            through = direct
            for name, _ in scope["headers"] if headers else ():
                if name in headers:
                    through = app
                    break
        except unusual:
            pass  # and on outside: what the application raises would name this as its context
        else:
            at = free.pop()
            try:
                return await through(scope, receive, send)
            finally:
                memory[at + _METHOD_AT] = 0
                free.append(at)
                took(now() - began_s)
        return await call_unusual(scope, receive, send)

    return call


def _unusual(app: App, table: _Table, others: App, *, by_status: bool) -> App:
    """Return what can be called with every scope, and takes its time."""

    async def call(scope: Scope, receive: Receive, send: Send) -> Any:
        kind = scope["type"]
        if kind not in {"http", "websocket"}:
            return await others(scope, receive, send)
        entry = _Entry(table, send, is_request=kind == "http")
        try:
            entry.write(scope)
            return await app(scope, receive, entry.send if by_status and kind == "http" else send)
        finally:
            entry.end()

    return call


class _Table:
    """The entries of one worker, and which of them are free."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.counter = slot.counter = slot.counter or Counter(slot.tally)
        entries = [slot.requests_at + index * _ENTRY.size for index in range(_ENTRIES)]
        self.free, self.free_for_websockets = entries[:REQUESTS], entries[REQUESTS:]


class _Entry:
    """One request, or one WebSocket; without a place in the table when that is full."""

    __slots__ = ("_at", "_began_s", "_class", "_is_request", "_send", "_table")

    def __init__(self, table: _Table, send: Send, *, is_request: bool) -> None:
        self._table, self._send, self._is_request = table, send, is_request
        self._class = 0
        free = self._free
        self._at = free.pop() if free else None
        if self._at is None:
            self._count_more(1)
        self._began_s = time.monotonic()

    def write(self, scope: Scope) -> None:
        """Show it."""
        if self._at is not None:
            _ENTRY.pack_into(self._table.slot.memory, self._at, self._began_s, *_path_and_method(scope))

    def send(self, message: MutableMapping[str, Any]) -> Awaitable[None]:
        """Send it, and keep the class of the status."""
        status = message.get("status", 0)  # no other message of a response has one
        if isinstance(status, int) and 0 < (first := status // 100) < len(CLASSES):  # its first digit: RFC 9110 §15
            self._class = first
        return self._send(message)

    def end(self) -> None:
        """Give the place back, and count."""
        took_s = time.monotonic() - self._began_s
        if self._at is None:
            self._count_more(-1)
        else:
            self._table.slot.memory[self._at + _METHOD_AT] = 0
            self._free.append(self._at)
        if self._is_request:
            self._table.counter.count(self._class, took_s)
        else:
            self._table.counter.count_other()

    @property
    def _free(self) -> list[int]:
        return self._table.free if self._is_request else self._table.free_for_websockets

    def _count_more(self, change: int) -> None:
        if self._is_request:
            self._table.slot.more_requests += change
        else:
            self._table.slot.more_websockets += change


def _path_and_method(scope: Scope) -> tuple[bytes, bytes]:
    path = scope.get("raw_path") or str(scope.get("path", "")).encode(errors="replace")
    if scope["type"] == "websocket":
        method = _WEBSOCKET
    else:
        named = str(scope.get("method", "?"))
        method = _METHODS.get(named) or named.encode(errors="replace")
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
