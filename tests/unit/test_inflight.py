"""What is noted of a request, and what does the application notice of it?"""

from __future__ import annotations

import asyncio
import functools
import os
from bisect import bisect_left
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from launcher.inflight import REQUESTS, App, InFlight, Receive, Scope, Send, Shortcut, watched
from launcher.scoreboard import Board, Slot
from launcher.tally import BOUNDS_S, CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator

HTTP = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": []}


@pytest.fixture
def board() -> Iterator[Board]:
    """Return a new board; its descriptor is closed in the end."""
    made = Board.create()
    yield made
    os.close(made.fd)


def cleared(board: Board) -> Slot:
    """Return a slot that was given to the first worker."""
    slot = board.slot(1)
    slot.clear(generation=1, number=1)
    return slot


async def never(*_: Any) -> Any:
    """Neither receive nor send."""


async def run(app: App, *scopes: Scope) -> list[Any]:
    """Call the application with all of these at once; return what it returns."""
    return await asyncio.gather(*(app(scope, never, never) for scope in scopes))


def seen(board: Board, *scopes: Scope) -> list[InFlight]:
    """Return what is in flight while all of these are."""
    slot, found = cleared(board), []

    async def app(*_: Any) -> None:
        await asyncio.sleep(0)  # until all have begun
        found.append(slot.read().in_flight)

    asyncio.run(run(watched(app, slot), *scopes))
    slot.publish()
    assert (len(scopes), ()) == (slot.requests, slot.read().in_flight)
    return list(found[0])


def test_what_finds_the_table_full_is_only_counted(board: Board) -> None:
    """With 140 requests at once, 124 are noted and 140 counted, and the table is empty again afterwards."""
    assert REQUESTS == 124
    assert REQUESTS == len(seen(board, *[HTTP] * 140))


def test_websockets_do_not_crowd_requests_out(board: Board) -> None:
    """However many WebSockets are open, a request is noted."""
    websocket = {"type": "websocket", "path": "/ws", "raw_path": b"/ws"}
    noted = seen(board, *[websocket] * 40, HTTP)

    assert {"WS": 4, "GET": 1} == {method: sum(r.method == method for r in noted) for method in ("WS", "GET")}


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        (HTTP | {"raw_path": b"/a%20b"}, "GET", "/a%20b"),
        (HTTP | {"raw_path": b"/" + b"x" * 300}, "GET", "/" + "x" * 111),
        (HTTP | {"raw_path": b"/a?token=S3kr"}, "GET", "/a"),
        (HTTP | {"raw_path": b"http://me:S3kr@host/a?b"}, "GET", "http://***/a"),
        (HTTP | {"raw_path": None, "path": "/a?token=S3kr"}, "GET", "/a"),
        ({"type": "http", "method": "GET", "path": "/a\x1b[2J"}, "GET", r"'/a\x1b[2J'"),
        (HTTP | {"method": "PROPPATCH-AND-MORE"}, "PROPPATC", "/"),
        ({"type": "http"}, "?", ""),
        ({"type": "websocket", "path": "/ws"}, "WS", "/ws"),
    ],
    ids=["encoded", "long", "query", "url", "no-raw-path", "control", "method", "nothing", "websocket"],
)
def test_method_and_path(board: Board, scope: Scope, method: str, path: str) -> None:
    """The path is shown as it was sent, cut, without query, host and user; a terminal is sent nothing to obey."""
    assert [(method, path)] == [(request.method, request.path) for request in seen(board, scope)]


def test_errors_and_cancellation_clear_the_entry(board: Board) -> None:
    """What the application raises comes out as it is; the request is over and counted."""
    slot = cleared(board)

    async def fails(*_: Any) -> None:
        raise LookupError("the application's own")

    async def waits(*_: Any) -> None:
        await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.ensure_future(watched(waits, slot)(HTTP, never, never))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    for scope in (HTTP, {"type": "http"}, {"type": "websocket"}, {"type": "lifespan"}):
        with pytest.raises(LookupError, match="the application's own") as raised:
            asyncio.run(run(watched(fails, slot), scope))
        assert raised.value.__context__ is None
    asyncio.run(cancelled())
    slot.publish()

    assert (4, ()) == (slot.requests, slot.read().in_flight)


def test_what_has_no_place_is_counted_while_it_lasts(board: Board) -> None:
    """How many requests and WebSockets are under way is known however many there are."""
    slot, found = cleared(board), []

    async def app(*_: Any) -> None:
        await asyncio.sleep(0)
        found.append(slot.read())

    websocket = {"type": "websocket", "path": "/ws"}
    asyncio.run(run(watched(app, slot), *[HTTP] * 136, *[websocket] * 7))
    slot.publish()
    after = slot.read()

    assert (12, 3) == (found[0].more_requests, found[0].more_websockets)
    assert (0, 0, 143, 7) == (after.more_requests, after.more_websockets, after.requests, slot.tally.others)


@pytest.mark.parametrize("by_status", [False, True])
def test_durations_are_of_requests_only(board: Board, *, by_status: bool) -> None:
    """Each request is in the bucket of its time, whatever its scope is like; WebSockets last and are in none."""
    slot = cleared(board)

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        await asyncio.sleep(0.03 if scope.get("raw_path") == b"/slow" else 0)

    scopes: list[Scope] = [HTTP, HTTP | {"raw_path": b"/slow"}, {"type": "http"}, {"type": "websocket", "path": "/ws"}]
    for scope in scopes:
        asyncio.run(run(watched(app, slot, by_status=by_status), scope))
    slot.publish()
    durations = board.tallied().durations
    slow = bisect_left(BOUNDS_S, 0.03)

    assert 3 == sum(durations.counts)
    assert 1 == sum(durations.counts[slow:])
    assert 0.03 <= durations.sum_s < 10
    assert (4, 1) == (board.tallied().requests, board.tallied().others)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ([{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}], "2xx"),
        ([{"type": "http.response.start", "status": HTTPStatus.NOT_FOUND}], "4xx"),
        ([{"type": "http.response.start", "status": 999}], "none"),
        ([{"type": "http.response.start", "status": "200"}], "none"),
        ([{}], "none"),
        ([], "none"),
    ],
    ids=["ok", "enum", "unknown", "text", "nothing", "silent"],
)
def test_the_class_of_the_status(board: Board, sent: list[dict[str, Any]], told: str) -> None:
    """When switched on, durations are told by the class of the status; the server gets each message as it was sent."""
    slot, got = cleared(board), []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        for message in sent:
            await send(message)

    async def server(message: Any) -> None:
        got.append(message)

    asyncio.run(watched(app, slot, by_status=True)(HTTP, never, server))  # type: ignore[arg-type]  # a coroutine
    slot.publish()
    by_class = board.tallied().by_class

    assert sent == got
    assert {told: 1} == {name: sum(row.counts) for name, row in zip(CLASSES, by_class, strict=True) if any(row.counts)}


def test_past_a_middleware(board: Board) -> None:
    """With a shortcut, only requests with one of its headers go through the middleware; all are noted and counted."""
    slot, came = cleared(board), []

    async def inner(_: Scope, __: Receive, ___: Send) -> None:
        came.append(("inner", len(slot.read().in_flight)))

    async def middleware(_: Scope, __: Receive, ___: Send) -> None:
        came.append(("middleware", len(slot.read().in_flight)))

    app = watched(middleware, slot, shortcut=Shortcut(inner, frozenset({b"x-forwarded-for"})))
    proxied = [(b"host", b"a"), (b"x-forwarded-for", b"192.0.2.1")]
    for headers in ([], proxied[:1], proxied):
        asyncio.run(run(app, {**HTTP, "headers": headers}))
    slot.publish()

    assert [("inner", 1), ("inner", 1), ("middleware", 1)] == came
    assert (3, ()) == (slot.requests, slot.read().in_flight)


def test_the_next_worker_of_a_slot_goes_on_counting(board: Board) -> None:
    """What counts in a slot begins with what the slot's workers before it have counted."""
    slot = cleared(board)
    asyncio.run(run(watched(never, slot), HTTP, HTTP))
    slot.publish()
    slot.clear(generation=1, number=2)
    asyncio.run(run(watched(never, slot), HTTP))
    slot.publish()

    assert (3, 1) == (board.tallied().requests, slot.requests)


def test_any_callable_is_watched(board: Board) -> None:
    """A function, an object and a partial are called with what came in; what they return goes out."""

    class Application:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> str:
            return f"{scope['type']} {(receive, send) == (never, never)}"

    async def function(more: str, scope: Scope, receive: Receive, send: Send) -> str:
        return more + await Application()(scope, receive, send)

    apps: list[Any] = [Application(), functools.partial(function, "")]
    for scope in (HTTP, {"type": "websocket"}, {"type": "lifespan"}):
        answers = [asyncio.run(run(watched(app, cleared(board)), scope)) for app in apps]
        assert [[f"{scope['type']} True"]] * 2 == answers
