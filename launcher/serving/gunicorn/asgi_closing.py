"""What is a connection of gunicorn's asgi worker, and how is it ended?

What we lean on: tests/contract/test_worker_assumptions.py.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn.asgi.protocol import ASGIProtocol

from launcher.serving.workers.closing import Closing

if TYPE_CHECKING:
    from launcher.serving.gunicorn.asgi_worker import AsgiWorker

_RESTARTING = 1012  # RFC 6455's registry: "Service Restart"


class Connection(ASGIProtocol):
    """gunicorn's connection, of which the worker knows that it is there, and what it is doing."""

    worker: AsgiWorker
    transport: Any
    _task: Any
    _websocket: Any
    started = False  # whether the response to the request under way has begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that it is there."""
        self.worker.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is gone."""
        self.worker.connections.discard(self)
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether it waits for a request: HTTP/2, for streams."""
        if self.reader is not None:
            return hasattr(self, "_h2_conn") and not self._h2_tasks
        return self._h2c_buffer is not None or (self._awaiting_request and not self._finishing_calls)

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """What runs for it, also after its client has left; None when nothing does any more."""
        return None if self._task is None or self._task.done() else self._task

    @property
    def websocket(self) -> Any:
        """What gunicorn has made of it, if a WebSocket, else None."""
        return self._websocket

    async def end_waiting(self) -> None:
        """Close it, of which no request came: HTTP/2 with GOAWAY."""
        if self.reader is not None:
            await self._h2_conn.close()
        elif self._request_ready is not None:
            self._keepalive_timeout()
        else:
            self._close_transport()

    async def end_websocket(self) -> None:
        """Close it with 1012; refuse one that the application has not accepted yet."""
        websocket = self._websocket
        if not websocket.accepted:
            websocket._deny(503, "Service Unavailable")  # noqa: SLF001 - gunicorn has no way to close it from outside
            return
        await websocket._send_close(_RESTARTING)  # noqa: SLF001 - as above
        await websocket._receive_queue.put({"type": "websocket.disconnect", "code": _RESTARTING})  # noqa: SLF001 - as above

    def refuse(self) -> None:
        """Answer the client of a request that is going to be cancelled before its response has begun."""
        waiting = self._current_request is not None and not self.started and not self._awaiting_request
        if waiting and self.websocket is None and not self._closed:
            self._send_error_response(503, "Service Unavailable")

    def close(self) -> None:
        """Close it at once."""
        self._close_transport()

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:  # noqa: FBT001 - gunicorn's signature
        return self.worker.closing or bool(super()._will_close(request, response_requires_close))

    def _send_response_start(self, status: int, headers: Any, request: Any, close: bool = False) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        self.started = True
        super()._send_response_start(status, headers, request, close)

    async def _serve_http_request(self, request: Any, sockname: Any, peername: Any) -> Any:
        self.started = False
        return await super()._serve_http_request(request, sockname, peername)


class AsgiClosing(Closing):
    """The end of the connections of gunicorn's asgi worker."""

    def __init__(self, worker: AsgiWorker, grace_s: float, hurried: Callable[[], bool]) -> None:
        super().__init__(worker.streams, grace_s, hurried, tls=worker.cfg.is_ssl)
        self.worker = worker
        self._left: dict[Connection, asyncio.Task[Any] | None] = {}  # also those whose client left meanwhile

    def busy(self) -> bool:
        """Tell whether there is a connection, or a task that was not cancelled."""
        for connection in self.worker.connections:
            self._left.setdefault(connection, connection.task)
        self._left = {
            connection: task
            for connection, task in self._left.items()
            if connection in self.worker.connections
            or (task is not None and not task.done() and task not in self.cancelled)
        }
        return bool(self._left)

    def look(self, now: float) -> None:
        """Do for each connection what can be done now."""
        for connection in self._left:
            if self.out_of_patience(connection, now):
                self.cancel(connection.task)
                connection.transport.abort()  # its client may not even have taken the close frame
            elif connection.idle:
                if self.lingered(connection, now):
                    self.soon(connection.end_waiting())
            elif connection.websocket is not None:
                lasted = connection.websocket.accepted or self.lingered(connection, now)
                if lasted and self.first_ended(connection, now):
                    self.soon(connection.end_websocket())
            else:
                self.busy_again(connection)

    def cut(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that are left."""
        self.busy()
        left = {connection: task for connection in self._left if (task := connection.task) is not None}
        if left and not self.hurried():
            self.worker.log.warning("Cancelled at the end of the graceful timeout: %d connections", len(left))
        for connection in left:
            connection.refuse()
        return set(left.values())

    def close(self) -> None:
        """Close the connections that are left."""
        for connection in list(self.worker.connections):
            connection.close()
