"""Does each client get its answers, and nothing that would cost anybody else?"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING

import pytest

from launcher.monitor.connection import (
    ANSWER_S,
    IDLE_S,
    MOST_BODY_BYTES,
    MOST_HEADER_BYTES,
    REQUEST_S,
    Answer,
    Connection,
    Phase,
    Reply,
    Request,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class Scene:
    """A client, its connection, and a handler that answers what it is told to or, if `later`, keeps the answer."""

    client: socket.socket
    sock: socket.socket
    now: float = 100.0
    reply: Reply = field(default_factory=lambda: Reply(200, b"hello\n"))
    later: bool = False
    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    changes: int = 0
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        for end in (self.sock, self.client):
            end.settimeout(0)
        self.connection = Connection(self.sock, self.handle, self.changed, clock=lambda: self.now)

    def handle(self, request: Request, answer: Answer) -> None:
        """Be the handler."""
        self.requests.append(request)
        if self.later:
            self.answers.append(answer)
        else:
            answer(self.reply)

    def changed(self, _: Connection) -> None:
        """Count how often the connection said that it had changed."""
        self.changes += 1

    def send(self, *pieces: bytes) -> None:
        """Send, and let the connection take its turn after each piece, as often as it wants to."""
        for piece in pieces:
            self.client.send(piece)
            self.connection.turn()
            while self.connection.again:
                self.connection.turn()

    def answer(self) -> bytes:
        """Return what the client has been sent."""
        said = b""
        try:
            while piece := self.client.recv(1 << 16):
                said += piece
        except BlockingIOError:
            pass
        return said

    def statuses(self) -> list[int]:
        """Return the status of each answer that the client has been sent."""
        return [int(part[:3]) for part in self.answer().split(b"HTTP/1.1 ")[1:]]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Return a client that has connected."""
    client, sock = socket.socketpair()
    with client, sock:
        yield Scene(client, sock)


def test_a_request_is_answered(scene: Scene) -> None:
    """It arrives in its parts; the answer has what HTTP asks for, and the connection goes on."""
    scene.send(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nX-Y:  z \r\n\r\n")
    said = scene.answer()

    headers = {"host": "x", "accept": "text/html", "x-y": "z"}
    assert [Request("GET", "/a", "b=c", headers)] == scene.requests
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\nhello\n")
    assert all(name in said for name in (b"Content-Length: 6", b"Date: ", b"Cache-Control: no-store"))
    assert (Phase.READING, EVENT_READ) == (scene.connection.phase, scene.connection.wants)


def test_a_body_belongs_to_its_request(scene: Scene) -> None:
    """POST with a length, and in chunks."""
    scene.send(
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab",
        b"cd",
        b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nef\r\n0\r\n\r\n",
        GET,
    )

    assert [b"abcd", b"ef", b""] == [request.body for request in scene.requests]


def test_head_has_no_body(scene: Scene) -> None:
    """HEAD is answered as GET is, without the body, and the next answer is found where it should be."""
    scene.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = scene.answer()
    scene.send(GET)

    assert b"Content-Length: 6\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert scene.answer().endswith(b"hello\n")


def test_one_byte_after_the_other_is_a_request_too(scene: Scene) -> None:
    """However it is cut, it is answered once."""
    scene.send(*(bytes([byte]) for byte in GET))

    assert [200] == scene.statuses()


def test_pipelined_requests_are_answered_in_order_one_a_turn(scene: Scene) -> None:
    """Requests sent at once are answered one in each turn: nobody gets a longer turn by sending more."""
    scene.client.send(GET * 3)
    scene.connection.turn()
    first = len(scene.requests), scene.connection.again
    scene.connection.turn()
    scene.connection.turn()

    assert (1, True) == first
    assert not scene.connection.again
    assert [200, 200, 200] == scene.statuses()


def test_an_answer_may_come_later(scene: Scene) -> None:
    """Meanwhile the client may not hurry us; it gets the answer once, and who answers twice is not heard."""
    scene.later = True
    scene.send(GET)
    during = scene.connection.phase, scene.connection.idle, scene.connection.deadline, scene.answer()
    scene.answers[0](Reply(200, b"first\n"))
    scene.answers[0](Reply(200, b"second\n"))

    assert (Phase.WORKING, False, float("inf"), b"") == during
    assert scene.answer().endswith(b"\r\n\r\nfirst\n")
    assert 1 == scene.changes


def test_what_is_sent_meanwhile_has_its_turn(scene: Scene) -> None:
    """A request that comes while another is in work is answered after it; too much of that ends the connection."""
    scene.later = True
    scene.send(GET, GET)
    scene.answers[0](scene.reply)
    again = scene.connection.again
    scene.connection.turn()
    second = len(scene.requests)
    while scene.connection.phase is Phase.WORKING:
        scene.send(b"x" * 8000)

    assert (True, 2) == (again, second)
    assert Phase.CLOSED is scene.connection.phase


@pytest.mark.parametrize("later", [False, True])
def test_who_says_nothing_more_is_answered_all_the_same(scene: Scene, *, later: bool) -> None:
    """A client that closes its side after the request gets the answer, then the connection ends."""
    scene.later = later
    scene.client.send(GET)
    scene.client.shutdown(socket.SHUT_WR)
    scene.connection.turn()
    while later and scene.connection.wants:
        scene.connection.turn()
    for answer in scene.answers:
        answer(scene.reply)
    while scene.connection.phase is not Phase.CLOSED:
        scene.connection.turn()

    assert [200] == scene.statuses()


def test_the_end_is_not_a_reset(scene: Scene) -> None:
    """With `Connection: close` we say our end and wait for the client's, so that no answer is lost on the way."""
    scene.send(CLOSE)
    said = scene.answer()
    during = scene.connection.phase
    scene.send(b"more")
    scene.client.close()
    scene.connection.turn()

    assert b"Connection: close\r\n" in said
    assert (Phase.LINGERING, Phase.CLOSED) == (during, scene.connection.phase)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n", 400),
        (b"GET /" + b"a" * MOST_HEADER_BYTES, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MOST_HEADER_BYTES + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"a" * (MOST_BODY_BYTES + 1), 413),
    ],
    ids=["tls", "no-host", "length", "target", "header", "body"],
)
def test_what_is_no_request_is_refused(scene: Scene, sent: bytes, status: int) -> None:
    """Garbage and what is too large get a status and the end, and no handler sees them."""
    scene.send(*(sent[at : at + 4000] for at in range(0, len(sent), 4000)))

    assert [status] == scene.statuses()
    assert Phase.LINGERING is scene.connection.phase
    assert [] == scene.requests


def test_who_does_not_read_keeps_only_his_own_answer(scene: Scene) -> None:
    """An answer that does not fit waits for the client, and nothing more of it is read meanwhile."""
    scene.reply = Reply(200, b"x" * (8 << 20))
    scene.send(GET)
    during = scene.connection.phase, scene.connection.wants, scene.connection.deadline
    got = 0
    while scene.connection.phase is Phase.WRITING:
        got += len(scene.answer())
        scene.connection.turn()
    got += len(scene.answer())

    assert (Phase.WRITING, EVENT_WRITE, 100 + ANSWER_S) == during
    assert got > 8 << 20
    assert Phase.READING is scene.connection.phase


def test_each_phase_has_its_time(scene: Scene) -> None:
    """The first request has its time from the connection on, each further one from its first byte; pauses have more."""
    first = scene.connection.deadline
    scene.now = 103
    scene.send(b"GET / HT")
    begun = scene.connection.deadline
    scene.send(b"TP/1.1\r\nHost: x\r\n\r\n")
    idle = scene.connection.deadline
    scene.now = 110
    scene.send(b"GET ")
    scene.now = 112
    scene.send(b"/ ")

    assert 100 + REQUEST_S == first == begun
    assert 103 + IDLE_S == idle
    assert 110 + REQUEST_S == scene.connection.deadline


def test_a_handler_that_fails_answers_500(scene: Scene) -> None:
    """The client learns it, the fault goes on to whoever says it, and the connection serves the next request."""

    def fail(_request: Request, _answer: Answer) -> None:
        raise ZeroDivisionError

    scene.connection = Connection(scene.sock, fail, scene.changed, clock=lambda: scene.now)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            scene.send(GET)

    assert [500, 500] == scene.statuses()


def test_a_client_that_has_gone_ends_only_itself(scene: Scene) -> None:
    """An answer for nobody is dropped, early and late."""
    scene.later = True
    scene.send(GET)
    scene.client.close()
    scene.connection.turn()
    scene.answers[0](scene.reply)
    scene.answers[0](scene.reply)

    assert Phase.CLOSED is scene.connection.phase
