"""Do the small parts of a worker's life do what they say?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from launcher.kernel import be_killed_first
from launcher.scoreboard import Board
from launcher.serving.evidence import Evidence
from launcher.serving.workers.boot_errors import BootErrors
from launcher.serving.workers.closing import linger_s
from launcher.serving.workers.event_streams import EventStreams, wants_events
from launcher.serving.workers.lifespan import Lifespan, ended
from launcher.serving.workers.pulse import Pulse
from launcher.serving.workers.stacks import task_stacks, write_stacks
from launcher.serving.workers.wrapped import wrapped
from launcher.tally import Counter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, MutableMapping
    from pathlib import Path

    Message = MutableMapping[str, Any]


@pytest.fixture
def evidence() -> Iterator[Evidence]:
    """Return a new file of evidence."""
    made = Evidence.create()
    yield made
    made.close()


def test_the_worst_delay_is_told_once_a_second() -> None:
    """A pulse keeps the latest of its ticks, and says it with the next beat."""
    slot = Board.create().slot(0)
    times = iter([0.0, 0.0, 0.1, 0.7, 0.8, 1.1, 1.2])  # made, then each tick; due 0.1 s after the one before
    pulse = Pulse(slot, clock=lambda: next(times))
    told = []
    for _ in range(6):
        pulse.tick()
        told.append(round(slot.lag_s, 3))

    assert [0.0, 0.0, 0.0, 0.0, 0.5, 0.5] == told


def test_what_is_counted_is_told_at_each_tick() -> None:
    """Others see what a worker has counted a tenth of a second later, and not when the loop has gone round a second."""
    slot = Board.create().slot(0)
    pulse = Pulse(slot)
    pulse.tick()
    slot.counter = Counter(slot.tally)
    slot.counter.count(0, 0.25)
    pulse.tick()

    assert (1, 0.25) == (slot.requests, slot.tally.read().durations.sum_s)


@pytest.mark.parametrize(("before", "after"), [("0\n", "300"), ("-500\n", "-200"), ("900\n", "1000")])
def test_a_worker_is_the_kernels_first_choice(tmp_path: Path, before: str, after: str) -> None:
    """300 are added to what the arbiter has, within what the kernel takes."""
    path = tmp_path / "oom_score_adj"
    path.write_text(before)
    be_killed_first(path)

    assert after == path.read_text()


def test_a_host_without_the_score_is_fine(tmp_path: Path) -> None:
    """Where there is none, nothing happens."""
    be_killed_first(tmp_path / "missing" / "oom_score_adj")


def test_errors_of_a_boot_go_into_the_evidence(evidence: Evidence, caplog: pytest.LogCaptureFixture) -> None:
    """What a server logs as an error is taken, with its traceback; the rest, and all that comes after, is logged."""
    errors = BootErrors(evidence)
    logger = logging.getLogger("uvicorn.error")
    errors.install()
    try:
        int("on purpose")
    except ValueError:
        logger.exception("it %s", "failed")
    logger.warning("a warning")
    errors.remove()
    errors.remove()
    logger.error("afterwards")

    assert ["a warning", "afterwards"] == caplog.messages
    assert errors.said
    assert evidence.read().startswith("it failed\nTraceback")
    assert evidence.read().endswith("'on purpose'\n")


async def outer() -> None:
    """Wait in a coroutine that waits."""
    await inner()


async def inner() -> None:
    """Wait in a generator, as libraries with awaitables of their own do."""
    await Waiting()


class Waiting:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        """Wait for ever."""
        yield from asyncio.sleep(600).__await__()


def test_every_await_of_a_task_is_named() -> None:
    """A task's own stack would be its outermost coroutine only."""

    async def look() -> str:
        task = asyncio.create_task(outer(), name="waiting")
        await asyncio.sleep(0)
        text = "".join(task_stacks(asyncio.get_running_loop()))
        task.cancel()
        return text

    text = asyncio.run(look())

    places = [text.index(word) for word in ("in outer", "in inner", "in Waiting.__await__", "in sleep")]

    assert "2 asyncio tasks:" in text
    assert sorted(places) == places
    assert "await inner()" in text


def test_stacks_without_a_loop() -> None:
    """Before there is one, the main thread's stack is written; a failing file is nobody's error."""
    written: list[str] = []

    def fail_once(text: str) -> None:
        written.append(text)
        if len(written) == 2:
            raise ValueError("no space")

    write_stacks(written.append, None, sys._getframe())  # noqa: SLF001 - as a signal's handler gets it
    write_stacks(fail_once, None, None)

    assert "test_stacks_without_a_loop" in written[0]
    assert "no space" in written[2]


@pytest.mark.parametrize(("grace_s", "linger"), [(30, 2), (8, 2), (4, 1), (0, 0)])
def test_the_linger_is_a_part_of_the_grace(grace_s: float, linger: float) -> None:
    """Two seconds at most, a quarter of a short grace."""
    assert linger == linger_s(grace_s)


@pytest.mark.parametrize(
    ("headers", "wants"),
    [
        ([], False),
        ([(b"host", b"x"), (b"accept", b"text/event-stream")], True),
        ([(b"accept", b"application/json, text/event-stream;q=0.9")], True),
        ([(b"accept", b"*/*"), (b"x", b"text/event-stream")], False),
    ],
)
def test_who_wants_events(headers: list[tuple[bytes, bytes]], wants: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The Accept header says so."""
    assert wants is wants_events({"headers": headers})


def events(*headers: tuple[bytes, bytes]) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return an application that sends one event and waits for the end."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"late", "more_body": True})

    return app


def ended_stream(*headers: tuple[bytes, bytes]) -> list[Message]:
    """Return what a server got of a stream that was ended after its first event, or for which that was tried."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        streams = EventStreams()
        app = wrapped(events(*headers), None, Lifespan(), streams)
        scope = {"type": "http", "method": "GET", "headers": [(b"accept", b"text/event-stream")]}
        gone = asyncio.Event()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        task = asyncio.ensure_future(app(scope, receive, send))
        await asyncio.sleep(0)
        for stream in streams:
            was_endless = stream.endless
            await stream.end()
            await stream.end()
            if not was_endless:
                gone.set()
        await task
        assert not list(streams)

    asyncio.run(run())
    return sent


def test_a_stream_of_events_is_ended_once() -> None:
    """Its last message is ours, and what the application sends after it goes nowhere."""
    sent = ended_stream((b"Content-Type", b"text/event-stream; charset=utf-8"))

    assert [b"first", b""] == [message["body"] for message in sent[1:]]
    assert [True, False] == [message["more_body"] for message in sent[1:]]


@pytest.mark.parametrize(
    "headers",
    [[(b"content-type", b"text/csv")], [(b"content-type", b"text/event-stream"), (b"content-length", b"9")]],
    ids=["type", "length"],
)
def test_a_download_is_no_stream_of_events(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever was asked for: another type, or an announced length, is never ended in the application's place."""
    assert [b"first", b"late"] == [message["body"] for message in ended_stream(*headers)[1:]]


def run_lifespan(error: BaseException | None, *, answers: bool = False) -> tuple[Lifespan, list[Message]]:
    """Return a lifespan whose application has answered to the startup, or not, and then has raised."""
    sent: list[Message] = []
    lifespan = Lifespan()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def app(_: Any, receive: Any, send: Any) -> None:
        if answers:
            await send({"type": "lifespan.startup.complete"})
        if error is not None:
            raise error

    async def run() -> None:
        await wrapped(app, None, lifespan, EventStreams())({"type": "lifespan"}, receive, send)

    with contextlib.suppress(BaseException):
        asyncio.run(run())
    return lifespan, sent


def test_leaving_a_start_is_a_failed_start() -> None:
    """`sys.exit` before the answer is told to the server as a failure, with its traceback."""
    lifespan, sent = run_lifespan(SystemExit(7))

    assert isinstance(lifespan.error, SystemExit)
    assert ["lifespan.startup.failed"] == [message["type"] for message in sent]
    assert "SystemExit: 7" in sent[0]["message"]


def test_an_application_without_lifespan_raises_as_ever() -> None:
    """What it raises is remembered, and left to the server."""
    error = AssertionError("only http")

    assert (error, []) == (run_lifespan(error)[0].error, run_lifespan(error)[1])
    assert run_lifespan(error, answers=True)[0].error is None
    assert len(run_lifespan(SystemExit(7), answers=True)[1]) == 1


def test_a_lifespan_that_does_not_end_is_given_up() -> None:
    """At the time that was set, or a second after everybody lost patience; one that ends is waited for."""

    async def run() -> tuple[bool, bool, bool]:
        def never() -> Coroutine[Any, Any, None]:
            return asyncio.sleep(600)

        return (
            await ended(never(), lambda: False, 0.0),
            await ended(never(), lambda: True, None),
            await ended(asyncio.sleep(0.1), lambda: True, None),
        )

    assert asyncio.run(run()) == (False, False, True)


def test_the_life_of_a_worker_is_light() -> None:
    """It is imported by every arbiter before it forks: no event loop, no server."""
    heavy = {"asyncio", "uvicorn", "gunicorn", "ctypes"}
    code = f"import sys, launcher.serving.workers.life; print({heavy} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
