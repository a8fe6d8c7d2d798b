"""Can it be read what a worker was doing, whoever it was started by, while it writes and however it ended?"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING, Any

import pytest

from launcher.inflight import Receive, Scope, Send, watched
from launcher.scoreboard import Board, Slot, Stage
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

pytestmark = pytest.mark.race

A_WHILE_S = 0.5
HTTP = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/"}


class Descriptor:
    """A descriptor that arrives, under any number, in a process that multiprocessing spawns."""

    def __init__(self, fd: int) -> None:
        """Be `fd`."""
        self.fd = fd

    def __reduce__(self) -> tuple[Callable[[Any], Descriptor], tuple[Any]]:
        """Be pickled while the process is being spawned."""
        return _arrived, (DupFd(self.fd),)


def _arrived(dup: Any) -> Descriptor:
    return Descriptor(dup.detach())


async def never_ends(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer no request but one."""
    if scope.get("raw_path") != b"/quick":
        await asyncio.Event().wait()


def answer(slot: Slot) -> None:
    """Be a worker in the midst of four requests and a lifespan; one more has been answered."""

    async def work() -> None:
        app = watched(never_ends, slot)
        scopes: list[Scope] = [
            {"type": "lifespan"},
            HTTP | {"raw_path": b"/quick"},
            HTTP | {"raw_path": b"/orders/1", "query_string": b"token=S3kr"},
            HTTP | {"method": "PURGE", "raw_path": b"/cache"},
            {"type": "websocket", "path": "/ws", "raw_path": b"/ws"},
            {"type": "http", "method": "POST", "path": "/größe"},
        ]
        tasks = [asyncio.ensure_future(app(scope, never, never)) for scope in scopes]
        await tasks[1]
        slot.pid = os.getpid()
        slot.keep_log("the last words")
        slot.beat(0.25)
        slot.publish()
        slot.stage = Stage.READY
        await asyncio.gather(*tasks)

    asyncio.run(work())


async def never(*_: Any) -> Any:
    """Neither receive nor send."""


def spawned(descriptor: Descriptor) -> None:
    """Work in the process that was spawned."""
    answer(Board.open(descriptor.fd).slot(1))


def forked(descriptor: Descriptor) -> None:
    """Work in a fork, with the parent's view of the slot, and wait for its end."""
    slot = Board.open(descriptor.fd).slot(1)
    if not (pid := os.fork()):
        answer(slot)
    os.waitpid(pid, 0)


def beats(descriptor: Descriptor) -> None:
    """Write as fast as it goes; all that is written at once says the same."""
    slot = Board.open(descriptor.fd).slot(1)

    async def nothing(*_: Any) -> None: ...

    async def work() -> None:
        app = watched(nothing, slot)
        both = [HTTP | {"method": "GET", "raw_path": b"/" + b"g" * 99}, HTTP | {"method": "POST", "raw_path": b"/ppp"}]
        for number in range(1, 1 << 40):
            slot.beat(number / 1024)
            await app(both[number % 2], never, never)
            slot.publish()
            slot.keep_log(chr(ord("a") + number % 26) * (number % 300))

    asyncio.run(work())


def is_reused(descriptor: Descriptor) -> None:
    """Give the slot to one worker after the other, each for half a millisecond."""
    slot = Board.open(descriptor.fd).slot(1)
    for number in range(1, 1 << 40):
        slot.clear(generation=number, number=number)
        slot.pid = number
        while time.monotonic() < slot.forked_at + 0.0005:
            pass


@pytest.fixture
def board() -> Iterator[Board]:
    """Return a new board; its descriptor is closed in the end."""
    made = Board.create()
    yield made
    os.close(made.fd)


@contextlib.contextmanager
def running(target: Callable[[Descriptor], None], board: Board) -> Iterator[BaseProcess]:
    """Spawn a process that has the board's descriptor and nothing else of it; kill it in the end."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=(Descriptor(board.fd),), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def cleared(board: Board, index: int = 1) -> Slot:
    """Return a slot that was given to the first worker."""
    slot = board.slot(index)
    slot.clear(generation=1, number=1)
    return slot


@pytest.mark.parametrize("started", [spawned, forked])
def test_what_a_killed_worker_was_answering(board: Board, started: Callable[[Descriptor], None]) -> None:
    """After SIGKILL the slot names the requests that were under way, without query strings, and the last log line."""
    slot = cleared(board)
    with running(started, board) as process:
        until(lambda: slot.stage is Stage.READY, "the worker to be in the midst of its requests", 30)
        os.kill(slot.pid, signal.SIGKILL)
        process.join(30)
    [state] = board.states()

    assert [("GET", "/orders/1"), ("POST", "/größe"), ("PURGE", "/cache"), ("WS", "/ws")] == sorted(
        (request.method, request.path) for request in state.in_flight
    )
    assert all(0 <= request.age_s < 60 for request in state.in_flight)
    assert state.in_flight == tuple(sorted(state.in_flight, key=lambda request: -request.age_s))
    assert (1, 0.25, ("the last words",)) == (state.requests, state.lag_s, state.last_log)
    assert slot.forked_at <= state.heartbeat <= state.stage_since <= time.monotonic()


def test_nothing_is_torn(board: Board) -> None:
    """While a worker writes as fast as it can, every value that is read is one that was written."""
    slot = cleared(board)
    requests: list[int] = []
    entries: set[tuple[str, str]] = set()
    lines: set[str] = set()
    with running(beats, board):
        until(lambda: slot.requests > 0, "the worker to write", 30)
        end = time.monotonic() + A_WHILE_S
        while (now := time.monotonic()) < end:
            state = slot.read()
            requests.append(state.requests)
            entries.update((request.method, request.path) for request in state.in_flight)
            lines.update(state.last_log)
            assert slot.forked_at <= state.heartbeat <= now + 60
            assert state.lag_s * 1024 == int(state.lag_s * 1024)
            assert all(request.age_s < 60 for request in state.in_flight)

    assert sorted(requests) == requests
    assert len(set(requests)) > 10
    assert entries <= {("GET", "/" + "g" * 99), ("POST", "/ppp")}
    assert all(len(set(line)) <= 1 for line in lines)


def test_a_worker_is_not_mixed_with_the_next(board: Board) -> None:
    """While a slot is given away again and again, what is read is of one worker."""
    with running(is_reused, board):
        until(lambda: board.slot(1).number, "the slot to be used", 30)
        end, numbers = time.monotonic() + A_WHILE_S, set()
        while time.monotonic() < end:
            for state in board.states():
                numbers.add(state.number)
                assert state.generation == state.number
                assert state.pid in {0, state.number}

    assert len(numbers) > 10
