"""How is a stream of server-sent events ended, so that its client takes it as complete?

Its last message is sent in the application's place: the server then writes what its protocol needs, the last chunk of
HTTP/1.1 or the end of HTTP/2's stream. The application hears that the client is gone; what it sends from then on goes
nowhere.

Only what a browser's EventSource asks for, which always GETs and connects again by itself (HTML Living Standard
§9.2). A POST that is answered with events (completions of a language model, MCP) comes to an end by itself, and is a
request under way like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, MutableMapping
from typing import Any

from launcher.inflight import App, Receive, Scope, Send

_EVENTS = b"text/event-stream"


def wants_events(scope: Scope) -> bool:
    """Tell whether a request (scope of type http) is an EventSource's. Every GET pays for it: no generators."""
    for name, value in scope["headers"]:
        if name == b"accept":
            return _EVENTS in value
    return False


def wants_only_events(scope: Scope) -> bool:
    """Tell whether a request wants events first of all, as EventSource says it (`Accept: text/event-stream`)."""
    return any(name == b"accept" and value.strip().lower().startswith(_EVENTS) for name, value in scope["headers"])


class EventStream:
    """One response to a request that wants events."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._task = asyncio.current_task()
        self._endless = False
        self._ended = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task in which the application runs."""
        return self._task

    @property
    def endless(self) -> bool:
        """Whether a response of events, of no announced length, is under way."""
        return self._endless and not self._ended.is_set()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send for the application."""
        async with self._sending:
            if self._ended.is_set():
                return
            if message["type"] == "http.response.start":
                self._endless = _is_endless(message)
            elif not message.get("more_body", False):
                self._endless = False
            await self._send(message)

    async def receive(self) -> MutableMapping[str, Any]:
        """Receive for the application, until it is ended."""
        receiving = asyncio.ensure_future(self._receive())
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else {"type": "http.disconnect"}
        finally:
            receiving.cancel()
            ending.cancel()

    async def end(self) -> None:
        """End it, if there is anything to end."""
        async with self._sending:
            if self.endless:
                self._ended.set()
                with contextlib.suppress(Exception):  # the client has left
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class EventStreams:
    """All that are under way."""

    def __init__(self) -> None:
        self._streams: set[EventStream] = set()

    def __iter__(self) -> Iterator[EventStream]:
        return iter(list(self._streams))

    async def run(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with a request that wants events."""
        stream = EventStream(receive, send)
        self._streams.add(stream)
        try:
            await app(scope, stream.receive, stream.send)
        finally:
            self._streams.discard(stream)


def _is_endless(start: MutableMapping[str, Any]) -> bool:
    """Tell it by the response's headers: a download may be asked for with the same request."""
    headers = {bytes(name).lower(): bytes(value).lower() for name, value in start.get("headers", ())}
    return headers.get(b"content-type", b"").startswith(_EVENTS) and b"content-length" not in headers
