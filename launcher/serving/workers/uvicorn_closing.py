"""What is a connection of uvicorn's, and how is it ended?

What we lean on: tests/contract/test_worker_assumptions.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from launcher.serving.workers.closing import Closing
from launcher.serving.workers.served import served_by
from launcher.serving.workers.uvicorn_streams import UvicornStreams

if TYPE_CHECKING:
    from uvicorn.server import ServerState

CLOSE = (b"connection", b"close")

_log = logging.getLogger("uvicorn.error")


class UvicornClosing(Closing):
    """The end of a uvicorn server's connections, all of which its state knows."""

    def __init__(self, state: ServerState, grace_s: float, hurried: Callable[[], bool], *, tls: bool) -> None:
        super().__init__(UvicornStreams(state), grace_s, hurried, tls=tls)
        self.state = state
        state.default_headers = [*state.default_headers, CLOSE]  # of requests that are still to come

    def busy(self) -> bool:
        """Tell whether there is a connection, or a task that was not cancelled."""
        return bool(self.state.connections or self.state.tasks - self.cancelled)

    def look(self, now: float) -> None:
        """Do for each connection what can be done now."""
        for connection in list(self.state.connections):
            if self.out_of_patience(connection, now):
                connection.transport.abort()  # a WebSocket whose client does not even take the close frame
            elif not connection.transport.is_closing():
                (self._http if _is_http_1(connection) else self._other)(connection, now)
        for task in self.state.tasks - self.cancelled:
            served = served_by(task)
            if hasattr(served, "connections") and served not in self.state.connections:
                self.first_ended(served, now)  # a WebSocket whose client has left
            if self.out_of_patience(served, now):
                self.cancel(task)

    def cut(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that are left. uvicorn answers 500 for a request that has no response when it ends."""
        left = self.state.tasks - self.cancelled
        if left and not self.hurried():
            _log.warning("Cancelled at the end of the graceful timeout: %s", ", ".join(sorted(map(_name, left))))
        return left

    def close(self) -> None:
        """Close the connections that are left."""
        for connection in list(self.state.connections):
            connection.transport.close()

    def _http(self, connection: Any, now: float) -> None:
        cycle = connection.cycle
        if cycle is not None and not cycle.response_complete:
            self.busy_again(connection)
            _announce(connection)
        elif self.lingered(connection, now):
            _shut_down(connection)

    def _other(self, connection: Any, now: float) -> None:
        """End a WebSocket (one in its handshake may finish that first), or what is neither: HTTP/2."""
        if (not _in_handshake(connection) or self.lingered(connection, now)) and self.first_ended(connection, now):
            _shut_down(connection)


def _is_http_1(connection: Any) -> bool:
    return hasattr(connection, "cycle") and hasattr(connection, "timeout_keep_alive_task")


def _shut_down(connection: Any) -> None:
    """Have uvicorn end the connection: 1012 for a WebSocket, 500 for one that is in its handshake still."""
    try:
        connection.shutdown()
    except Exception:  # noqa: BLE001 - a state in which the protocol has nothing to say: the transport still ends it
        connection.transport.close()


def _in_handshake(connection: Any) -> bool:
    if (completed := getattr(connection, "handshake_completed_event", None)) is not None:  # `websockets`
        return not completed.is_set()
    return not getattr(connection, "handshake_complete", True)


def _announce(connection: Any) -> None:
    """Have the last response that is under way carry `Connection: close`, unless it has started."""
    queue = getattr(connection, "pipeline", ())  # httptools': the newest is first
    cycle = queue[0][0] if queue else connection.cycle
    if not cycle.response_started and CLOSE not in cycle.default_headers:
        cycle.default_headers = [*cycle.default_headers, CLOSE]


def _name(task: asyncio.Task[None]) -> str:
    scope = getattr(served_by(task), "scope", None) or {}
    return f"{scope.get('method', 'WebSocket')} {scope.get('path', '?')}"
