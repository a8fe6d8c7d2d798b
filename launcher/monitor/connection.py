"""What does one client get?

An answer, or an end: to a request that is complete within its time and size, in the order of the requests. Nothing
waits for a client, and what a client does costs nobody else anything.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from selectors import EVENT_READ, EVENT_WRITE

import h11

MOST_HEADER_BYTES = 16 * 1024
MOST_BODY_BYTES = 64 * 1024
REQUEST_S = 5.0  # for a request to be complete, from the connection or from its first byte
IDLE_S = 15.0  # between two requests
ANSWER_S = 15.0  # for the client to take the answer
_LINGER_S = 1.0  # closing at once would reset the connection, and what was answered would be lost on the way
_CHUNK_BYTES = 16 * 1024  # read at once: a turn of the loop stays short

_REASONS = {200: b"OK", 503: b"Service Unavailable"}  # as most people know them; no client needs one
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. Names of headers in lower case; `local`: over the Unix socket, so by us or by root."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    local: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[Reply], None]  # to be called once, at once or later; when the client is gone nothing happens
Handler = Callable[[Request, Answer], None]


class Phase(Enum):
    """Where a connection is."""

    READING = auto()  # until a request is complete
    WORKING = auto()  # until its answer is known
    WRITING = auto()  # until the client has taken it
    LINGERING = auto()  # until the client has seen our end
    CLOSED = auto()


class Connection:
    """One client. No method raises for what a client does; whoever made it closes the socket when it is CLOSED.

    phase: where it is. deadline: until when the client has to go on, by `clock`.
    again: there is something to do for which no event will come.
    local: it came over the Unix socket.
    """

    __slots__ = (
        "_ahead",
        "_begun",
        "_body",
        "_changed",
        "_clock",
        "_ended",
        "_handler",
        "_http",
        "_number",
        "_out",
        "_request",
        "again",
        "deadline",
        "local",
        "phase",
        "sock",
    )

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        changed: Callable[[Connection], None],
        *,
        local: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve `sock`, which does not block; `changed` is called when an answer comes outside of `turn`, too."""
        self.sock, self.local = sock, local
        self.phase, self.again = Phase.READING, False
        self.deadline = clock() + REQUEST_S
        self._handler, self._changed, self._clock = handler, changed, clock
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER_BYTES)
        self._request: h11.Request | None = None
        self._body = self._out = b""
        self._number = self._ahead = 0  # of the request; bytes that came before their turn
        self._begun = True  # the request: the first with its connection, all others with their first byte
        self._ended = False  # the client sends nothing more

    @property
    def wants(self) -> int:
        """Which events it waits for, as `selectors` names them; 0 for none."""
        if self.phase is Phase.WRITING:
            return EVENT_WRITE
        return 0 if self._ended or self.phase is Phase.CLOSED else EVENT_READ

    @property
    def idle(self) -> bool:
        """Whether no request of it is in work."""
        return self.phase is not Phase.WORKING

    def turn(self) -> None:
        """Do what can be done now: at most one request."""
        self.again = False
        try:
            if self.phase is Phase.WRITING:
                self._write()
            elif self.phase is Phase.LINGERING:
                self._discard()
            elif self.phase is not Phase.CLOSED:
                self._read()
        except OSError:  # reset by the client, or it is out of reach
            self.end()

    def end(self) -> None:
        """Be CLOSED, whatever is under way."""
        self.phase, self.again = Phase.CLOSED, False

    def _read(self) -> None:
        data = None if self._ended else self._receive()
        if data is not None:
            self._ended = not data
            self._http.receive_data(data)
        if self.phase is Phase.WORKING:
            self._ahead += len(data or b"")
            if self._ahead > MOST_BODY_BYTES:
                self.end()
            return
        if data and not self._begun:
            self._begun, self.deadline = True, self._clock() + REQUEST_S
        try:
            while self.phase is Phase.READING and self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, "this is no request")

    def _take(self, event: object) -> bool:
        """Take the next part of a request; tell whether there may be another part."""
        match event:
            case h11.Request():
                self._request = event
            case h11.Data():
                self._body += event.data
                if len(self._body) > MOST_BODY_BYTES:
                    self._refuse(413, "the body is too large")
            case h11.EndOfMessage():
                self._handle()
                return False  # the next one has the next turn
            case h11.ConnectionClosed():
                self.end()
            case _:  # NEED_DATA
                return False
        return True

    def _handle(self) -> None:
        self.phase, self.deadline = Phase.WORKING, math.inf
        self._ahead = 0
        self._number += 1
        number = self._number

        def answer(reply: Reply) -> None:
            if self.phase is Phase.WORKING and number == self._number:
                self._respond(reply)
                self._changed(self)

        try:
            self._handler(self._complete(), answer)
        except Exception:
            answer(Reply(500, b"failed\n"))
            raise

    def _complete(self) -> Request:
        assert self._request is not None  # noqa: S101 - h11 ends no message that it has not begun
        path, _, query = self._request.target.decode("latin-1").partition("?")
        return Request(
            method=self._request.method.decode("latin-1"),
            path=path,
            query=query,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in self._request.headers},
            body=self._body,
            local=self.local,
        )

    def _refuse(self, status: int, because: str) -> None:
        self._respond(Reply(status, f"{because}\n".encode(), headers=(("Connection", "close"),)))

    def _respond(self, reply: Reply) -> None:
        """Begin to send it."""
        self.phase, self.deadline = Phase.WRITING, self._clock() + ANSWER_S
        try:
            self._out = self._encode(reply)
            self._write()
        except OSError:
            self.end()
        except h11.LocalProtocolError:  # a bug of ours
            self.end()
            raise

    def _encode(self, reply: Reply) -> bytes:
        headers = [
            ("Date", _date(time.time())),
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            ("Cache-Control", "no-store"),
            *reply.headers,
        ]
        head = h11.Response(status_code=reply.status, headers=headers, reason=_REASONS.get(reply.status, b""))
        events: list[h11.Event] = [head, h11.EndOfMessage()]
        if self._request is None or self._request.method != b"HEAD":
            events.insert(1, h11.Data(data=reply.body))
        return b"".join(self._http.send(event) or b"" for event in events)

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._out = self._out[self.sock.send(self._out) :]
        if not self._out:
            self._written()

    def _written(self) -> None:
        self._request, self._body = None, b""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self.phase, self.deadline, self._begun = Phase.READING, self._clock() + IDLE_S, False
            self.again = self._ended or bool(self._http.trailing_data[0])
        elif self._ended:
            self.end()
        else:
            self.phase, self.deadline = Phase.LINGERING, self._clock() + _LINGER_S
            self.sock.shutdown(socket.SHUT_WR)

    def _discard(self) -> None:
        if self._receive() == b"":
            self.end()

    def _receive(self) -> bytes | None:
        """Return what has come, empty at the end, None when nothing has."""
        try:
            return self.sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return None


def _date(seconds: float) -> str:
    """Return it as RFC 9110 §5.6.7 writes it, in English whatever the locale is."""
    now = time.gmtime(seconds)
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_MONTHS[now.tm_mon - 1]} {now.tm_year} {clock} GMT"
