"""Can a client, or ten thousand of them, keep others from their answers?"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import pytest

from launcher.monitor.connection import REQUEST_S
from launcher.monitor.web import MOST_CONNECTIONS
from support.monitor import ANSWERED_S, Got, Monitored, cpu_s, handmade, private_bytes, start
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.spawning import Spawner

LEAST = 10  # answers in any test
PARTIAL = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@dataclass
class Prober:
    """Asks for /readyz over TCP and over the Unix socket, all the time, each time over a new connection.

    It is the worker and the server, too: both give their signs of life.
    """

    monitored: Monitored
    answers: list[Got] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(AssertionError):  # `check` tells it better
            until(lambda: len(self.answers) + len(self.failures) >= LEAST, "some answers")
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        board = self.monitored.board
        while not self._over.wait(0.02):
            board.slot(0).beat(0.0, 0)
            board.heartbeat = time.monotonic()
            for get in (self.monitored.get, self.monitored.local):
                try:
                    self.answers.append(get("/readyz"))
                except OSError as error:
                    self.failures.append(repr(error))

    def check(self) -> None:
        """Fail unless there were answers, every one of them 200 and in time."""
        assert [] == self.failures
        assert len(self.answers) >= LEAST
        assert {200} == {answer.status for answer in self.answers}
        assert max(answer.took_s for answer in self.answers) < ANSWERED_S


@pytest.fixture
def monitored(spawn: Spawner, tmp_path: Path) -> Iterator[Monitored]:
    """Run the monitor of a pool that is ready."""
    running = start(spawn, handmade(tmp_path))
    running.serving()
    yield running
    running.process.popen.kill()  # nothing else ends it
    running.close()


@pytest.fixture
def probing(monitored: Monitored) -> Iterator[Prober]:
    """Probe all through the test; afterwards all was answered, well and in time."""
    with Prober(monitored) as prober:
        yield prober
    prober.check()


def descriptors(monitored: Monitored) -> int:
    """Return how many descriptors the monitor has open."""
    import psutil

    return psutil.Process(monitored.pid).num_fds()


def ended(client: socket.socket) -> bytes:
    """Return all that the client is sent until its end."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 16):
            said += piece
    return said


@pytest.fixture
def most_clients() -> Iterator[int]:
    """Return how many clients this process may be: ten thousand where the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 12_000 if hard == resource.RLIM_INFINITY else min(12_000, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield min(10_000, max(soft, wanted) - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_connections(monitored: Monitored, most_clients: int, probing: Prober) -> None:
    """Ten thousand that never complete a request: a few hundred are kept, and the probes do not notice."""
    with contextlib.ExitStack() as clients:
        for _ in range(most_clients):
            client = clients.enter_context(monitored.client())
            with contextlib.suppress(OSError):
                client.send(PARTIAL)
        kept = until(lambda: (kept := descriptors(monitored)) >= min(most_clients, MOST_CONNECTIONS) and kept, "them")
        until(lambda: len(probing.answers) > 20, "probes while all of them are there")
    until(lambda: descriptors(monitored) < 40, "the end of all of them")

    assert kept < MOST_CONNECTIONS + 40


def test_few_descriptors(spawn: Spawner, tmp_path: Path) -> None:
    """Where only 64 descriptors may be open, the flood costs the oldest of the flood their place, and no probe."""
    made = handmade(tmp_path)
    program = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
    program += "runpy.run_module('launcher.monitor', run_name='__main__')"
    running = start(spawn, made, [sys.executable, "-P", "-c", program])
    running.serving()
    try:
        with Prober(running) as prober, contextlib.ExitStack() as clients:
            for _ in range(300):
                clients.enter_context(running.client()).send(PARTIAL)
            until(lambda: len(prober.answers) > 20, "probes while all of them are there")
    finally:
        running.process.popen.kill()
        running.close()

    prober.check()


def test_one_byte_a_moment(monitored: Monitored, probing: Prober) -> None:
    """Whoever sends its header drop by drop has five seconds for it, however steadily it drips."""
    began = time.monotonic()
    with monitored.client() as slow, pytest.raises(OSError, match=r"reset|pipe|Broken|aborted"):  # noqa: PT012 - any byte may be the one
        for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1000:
            slow.send(bytes([byte]))
            slow.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                if not slow.recv(1):
                    raise ConnectionResetError("reset: closed")
    took_s = time.monotonic() - began

    assert REQUEST_S - 0.5 < took_s < REQUEST_S + 3


def test_half_open(monitored: Monitored, probing: Prober) -> None:
    """Connections that say nothing, or whose end never comes, are ended after five seconds."""
    with contextlib.ExitStack() as clients:
        silent = [clients.enter_context(monitored.client()) for _ in range(20)]
        for client in silent[:10]:
            client.send(PARTIAL)
        until(lambda: descriptors(monitored) > 20, "the connections")
        until(lambda: descriptors(monitored) < 20, "the end of all of them", REQUEST_S + 5)

        assert {b""} == {ended(client) for client in silent}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), b"400"),
        (b"\0" * 100_000, b"400"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"a" * (1 << 20), b"431"),
        (b"GET /livez HTTP/1.1\r\n" + b"X: a\r\n" * (1 << 17), b"431"),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + b"a" * (1 << 20), b"413"),
    ],
    ids=["tls", "zeros", "1-mb-header", "many-headers", "1-gb-body"],
)
def test_garbage(monitored: Monitored, probing: Prober, sent: bytes, status: bytes) -> None:
    """What is no request, or too large, gets its status, even while it is still being sent."""
    with monitored.client() as client:
        client.sendall(sent + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        said = ended(client)

    assert b"HTTP/1.1 " + status == said[:12]


def test_resets(monitored: Monitored, probing: Prober) -> None:
    """Clients that reset their connection, before the request and with the answer on its way, leave nothing behind."""
    for number in range(300):
        client = monitored.client()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.send(PARTIAL + b"\r\n" * (number % 2))
        client.close()
    until(lambda: len(probing.answers) > 10 and descriptors(monitored) < 20, "the end of all of them")

    assert "" == monitored.process.stderr


def test_who_never_reads(monitored: Monitored, probing: Prober) -> None:
    """Clients that ask without end and never read an answer wait for themselves only, and cost no CPU while they do."""
    with contextlib.ExitStack() as clients:
        for _ in range(20):
            client = clients.enter_context(monitored.client())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client.send((PARTIAL + b"\r\n") * 100)
        until(lambda: len(probing.answers) > 20, "probes meanwhile")
        used_s = cpu_s(monitored.pid)
        until(lambda: len(probing.answers) > 60, "probes meanwhile")

    assert cpu_s(monitored.pid) - used_s < 1.0


def test_pipelining_without_end(monitored: Monitored, probing: Prober) -> None:
    """Clients that pipeline as fast as they can get all their answers, in order, and nobody else waits for them."""

    def pipeline(answers: list[int]) -> None:
        with monitored.client() as client, client.makefile("rb") as file:
            for _ in range(10):
                client.sendall((PARTIAL + b"\r\n") * 100)
                answers.append(sum(file.readline().startswith(b"HTTP/1.1 200") for _ in range(100 * 7)))

    answers: list[int] = []
    threads = [threading.Thread(target=pipeline, args=(answers,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(probing.answers) > 5, "probes")

    assert [100] * 50 == answers


def test_memory_comes_back(monitored: Monitored, probing: Prober) -> None:
    """A crowd with headers as large as they may be costs some memory while it is there, and none of it afterwards."""
    if sys.platform != "linux":
        pytest.skip("the kernel tells it on Linux only")
    with contextlib.ExitStack() as clients:
        for _ in range(MOST_CONNECTIONS + 100):
            clients.enter_context(monitored.client()).send(PARTIAL + b"X: " + b"a" * 15_000)
        until(lambda: descriptors(monitored) > MOST_CONNECTIONS - 20, "the crowd")
        during = private_bytes(monitored.pid)

    assert during < 24_000_000
    until(lambda: private_bytes(monitored.pid) < 12_000_000, "what they have cost is given back")


def test_tcp_costs_the_unix_socket_nothing(monitored: Monitored, probing: Prober) -> None:
    """With the house full, who is connected to the Unix socket keeps its place: it is the crowd that has to go."""
    import http.client

    from support.monitor import UnixConnection

    local: http.client.HTTPConnection = UnixConnection(monitored.path, 10)
    local.request("GET", "/livez")
    local.getresponse().read()
    sock = local.sock
    with contextlib.ExitStack() as clients:
        for _ in range(MOST_CONNECTIONS * 2):
            clients.enter_context(monitored.client()).send(PARTIAL)
        local.request("GET", "/status")
        status = local.getresponse().status

    assert 200 == status
    assert sock is local.sock
    local.close()
