"""Does the server hear its monitor, and is it never held up or brought down by it?"""

from __future__ import annotations

import os
import select
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.channel import MOST_BYTES, Channel, pair

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = {"event": "worker_ready", "pid": 12}
linux = pytest.mark.skipif(sys.platform != "linux", reason="the end is told by SOCK_SEQPACKET only")


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Return both ends of a new channel, closed in the end."""
    first, second = pair()
    channels = Channel(first), Channel(second)
    yield channels
    for channel in channels:
        channel.close()


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    """Events, asks and answers arrive as they were sent, all that are waiting at once, in both directions."""
    server, monitor = ends
    ask = {"ask": "scale", "id": 7, "workers": 3}
    answer = {"answer": 7, "code": 0, "because": "größer: “3”"}

    assert all([server.send(HELLO), server.send(answer), monitor.send(ask)])
    assert [HELLO, answer] == monitor.receive()
    assert [ask] == server.receive()


def test_nothing_to_hear_is_no_wait(ends: tuple[Channel, Channel]) -> None:
    """Without a message `receive` returns at once, and the other side is not taken for gone."""
    assert [] == ends[0].receive()
    assert not ends[0].gone


def test_it_can_be_waited_on(ends: tuple[Channel, Channel]) -> None:
    """`select` takes it as it is and reports a message that is waiting."""
    server, monitor = ends
    before = select.select([server], [], [], 0)[0]
    monitor.send(HELLO)

    assert [] == before
    assert [server] == select.select([server], [], [], 5)[0]


def test_who_does_not_read_holds_nobody_up(ends: tuple[Channel, Channel]) -> None:
    """With a full buffer `send` says False at once; after the other side has read, it goes through again."""
    server, monitor = ends
    sent = sum(server.send({"event": "x" * 1000}) for _ in range(5000))

    assert 0 < sent < 5000
    assert sent == len(monitor.receive())
    assert server.send(HELLO)
    assert not server.gone


def test_a_message_may_have_64_kib(ends: tuple[Channel, Channel]) -> None:
    """The largest message goes through and one byte more is not sent."""
    server, monitor = ends
    largest = {"event": "x" * (MOST_BYTES - len('{"event": ""}'))}

    assert server.send(largest)
    assert not server.send({"event": largest["event"] + "x"})
    assert [largest] == monitor.receive()


@linux
def test_the_end_of_the_other_side_is_seen(ends: tuple[Channel, Channel]) -> None:
    """What it said before its end is heard, then it is `gone`, and sending says False, without SIGPIPE or an error."""
    server, monitor = ends
    monitor.send(HELLO)
    server.send(HELLO)  # never read: the kernel then tells the end by ECONNRESET
    monitor.close()

    assert [HELLO] == server.receive()
    assert server.gone
    assert not server.send(HELLO)
    assert [] == server.receive()


@linux
def test_the_end_is_seen_by_who_only_sends(ends: tuple[Channel, Channel]) -> None:
    """A server that never listens learns of the end too."""
    server, monitor = ends
    monitor.close()

    assert not server.send(HELLO)
    assert server.gone


@pytest.mark.parametrize(
    "content",
    [b"not json", b"[]", b"12", b'"x"', b"null", b"\xff\xfe\x00", b"[" * 50_000, b"1" * 50_000, b'{"a":' * 9000],
    ids=["text", "array", "number", "string", "null", "bytes", "nested", "huge-number", "nested-objects"],
)
def test_what_no_message_is_is_dropped(content: bytes) -> None:
    """Anything but a JSON object is dropped, and the next message is heard."""
    first, second = pair()
    server = Channel(first)
    with socket.socket(fileno=second) as other:
        other.send(content)
        other.send(b'{"event": "after"}')

        assert [{"event": "after"}] == server.receive()
    server.close()


def test_what_is_too_large_is_dropped() -> None:
    """A message above 64 KiB is dropped even though it is JSON; the next one is heard."""
    first, second = pair()
    server = Channel(first)
    with socket.socket(fileno=second) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        other.send(b'{"event": "' + b"x" * (MOST_BYTES + 1) + b'"}')
        other.send(b'{"event": "after"}')

        assert [{"event": "after"}] == server.receive()
    server.close()


@pytest.mark.parametrize(
    ("fact", "arrives"),
    [(Path("/x"), "/x"), (ValueError("no"), "no"), ("\udcff", "\udcff"), (float("inf"), float("inf"))],
    ids=["path", "error", "surrogate", "infinity"],
)
def test_any_fact_can_be_sent(ends: tuple[Channel, Channel], fact: Any, arrives: Any) -> None:
    """What JSON does not know arrives as its `str`."""
    server, monitor = ends
    server.send({"event": "x", "fact": fact})

    assert [{"event": "x", "fact": arrives}] == monitor.receive()


def test_closed_is_like_gone(ends: tuple[Channel, Channel]) -> None:
    """Once closed, nothing raises: sending says False, there is nothing to hear, and it may be closed again."""
    server, _ = ends
    server.close()
    server.close()

    assert (-1, False, []) == (server.fileno(), server.send(HELLO), server.receive())


def test_the_descriptors_are_not_inherited() -> None:
    """Neither end reaches a program that is started meanwhile."""
    descriptors = pair()
    inherited = [os.get_inheritable(fd) for fd in descriptors]
    for fd in descriptors:
        os.close(fd)

    assert [False, False] == inherited
