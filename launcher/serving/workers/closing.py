"""How does a server end its connections, so that no client sees an error?

Each kind has its own end. One that waits for a request keeps waiting for a moment, because the request may be on its
way, and is answered with `Connection: close`. WebSockets are closed with 1012, streams of events are finished as if
they had come to their end; clients of both come back by themselves. Whatever else is under way may take its time.

The same for all servers; `uvicorn_closing` and `asgi_closing` know what a connection is.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

SHARE_FOR_REQUESTS = 0.9  # of the graceful timeout; the rest is for the lifespan's shutdown, before the arbiter kills
PATIENCE_S = 1.0  # for an application whose WebSocket or stream of events was ended
_LONGEST_LINGER_S = 2.0
_SHARE_TO_LINGER = 0.25  # of the graceful timeout
_HANDSHAKE_S = 0.25  # of TLS: until it is over, a server knows nothing of the connection
_POLL_S = 0.05
_ACCEPTED = 3  # turns of the loop from accept(2) to a connection that the server knows


class Stream(Protocol):
    """A response of events."""

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task in which the application runs."""

    @property
    def endless(self) -> bool:
        """Whether a response of events, of no announced length, is under way."""

    async def end(self) -> None:
        """End it, if there is anything to end."""


def linger_s(grace_s: float) -> float:
    """Return how long a connection without a request is kept, of a graceful timeout."""
    return min(_LONGEST_LINGER_S, grace_s * _SHARE_TO_LINGER)


async def stop_accepting(servers: Iterable[Any], sockets: Iterable[Any]) -> None:
    """Close our copies of the listeners; connections that were just accepted are kept.

    asyncio accepts in one turn of its loop and makes the connection in another: closed in between, it would be reset.
    """
    loop = asyncio.get_running_loop()
    servers = list(servers)
    if isinstance(loop, asyncio.SelectorEventLoop):
        for listener in (listener for server in servers for listener in server.sockets):
            loop.remove_reader(listener.fileno())
    for _ in range(_ACCEPTED):
        await asyncio.sleep(0)
    for server in servers:
        server.close()
    for listener in sockets:
        with contextlib.suppress(OSError):  # uvloop has closed its descriptor with the server
            listener.close()


class Closing(ABC):
    """The end of a server's connections.

    streams: those of events.
    grace_s: the graceful timeout.
    hurried: tells whether nobody may be waited for (any more).
    tls: whether connections may be in a handshake that the server does not see.
    """

    def __init__(self, streams: Iterable[Stream], grace_s: float, hurried: Callable[[], bool], *, tls: bool) -> None:
        self.streams, self.grace_s, self.hurried = streams, grace_s, hurried
        self.cancelled: set[asyncio.Task[Any]] = set()  # nobody waits for them any more
        self._handshakes_s = _HANDSHAKE_S if tls else 0.0
        self._idle: dict[Any, float] = {}  # connection -> since when
        self._ended: dict[Any, float] = {}  # whom the application serves no more -> since when
        self._ends: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Return when no connection is left: at the latest when the requests' share of the graceful timeout is over."""
        now = asyncio.get_running_loop().time
        until = now() + self.grace_s * SHARE_FOR_REQUESTS
        seen = now()  # when there was a connection
        while not self.hurried() and now() < until:
            seen = now() if self.busy() else seen
            if now() - seen >= self._handshakes_s and not self.busy():
                break
            self._end_streams(now())
            self.look(now())
            await asyncio.sleep(_POLL_S)
        if tasks := self.cut() - self.cancelled:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=min(PATIENCE_S, self.grace_s * (1 - SHARE_FOR_REQUESTS) / 2))
        self.close()

    @abstractmethod
    def busy(self) -> bool:
        """Tell whether there is a connection, or a task that was not cancelled."""

    @abstractmethod
    def look(self, now: float) -> None:
        """Do for each connection what can be done now."""

    @abstractmethod
    def cut(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that are left, to be cancelled."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections that are left."""

    def lingered(self, connection: Any, now: float) -> bool:
        """Tell whether a connection has been idle for long enough."""
        return now - self._idle.setdefault(connection, now) >= linger_s(self.grace_s)

    def busy_again(self, connection: Any) -> None:
        """Note that a connection is not idle."""
        self._idle.pop(connection, None)

    def first_ended(self, served: Any, now: float) -> bool:
        """Note that the application serves no more what it did (a connection, a stream); tell whether that is new."""
        if served in self._ended:
            return False
        self._ended[served] = now
        return True

    def out_of_patience(self, served: Any, now: float) -> bool:
        """Tell whether the application has had time enough since `first_ended`."""
        return now - self._ended.get(served, now) > PATIENCE_S

    def cancel(self, task: asyncio.Task[Any] | None) -> None:
        """Cancel a task that nobody waits for any more."""
        if task is not None and task not in self.cancelled:
            self.cancelled.add(task)
            task.cancel()

    def soon(self, end: Coroutine[Any, Any, Any]) -> None:
        """Do it beside the rest: a client that does not read may keep it from ending."""
        task = asyncio.ensure_future(end)
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    def _end_streams(self, now: float) -> None:
        for stream in self.streams:
            if self.out_of_patience(stream, now):
                self.cancel(stream.task)
            elif stream.endless and self.first_ended(stream, now):
                self.soon(stream.end())
