"""Which of uvicorn's responses are streams of events, and how is one ended?

Looked for when the server stops, so that no request pays for it: by what the client asked for and by what was begun,
since uvicorn does not keep a response's headers. The last message is sent in the application's place, as in
`event_streams`. What we lean on: tests/contract/test_worker_assumptions.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from launcher.serving.workers.event_streams import wants_only_events
from launcher.serving.workers.served import served_by

if TYPE_CHECKING:
    from uvicorn.server import ServerState


class UvicornStream:
    """One response to a request that wants events; `cycle` is uvicorn's request and response."""

    def __init__(self, cycle: Any, task: asyncio.Task[Any]) -> None:
        self.cycle, self.task = cycle, task

    @property
    def endless(self) -> bool:
        """Whether a response of no announced length is under way."""
        cycle = self.cycle
        open_ended = getattr(cycle, "chunked_encoding", True) is not False  # httptools' cycle knows
        return bool(open_ended and cycle.response_started and not (cycle.response_complete or cycle.disconnected))

    async def end(self) -> None:
        """End it: the client sees it as complete, the application that its client has left."""
        with contextlib.suppress(Exception):  # the client has left
            await self.cycle.send({"type": "http.response.body", "body": b"", "more_body": False})
        self.cycle.disconnected = True
        self.cycle.message_event.set()


class UvicornStreams:
    """All that are under way; the same object for the same one."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._streams: dict[Any, UvicornStream] = {}

    def __iter__(self) -> Iterator[UvicornStream]:
        found = {}
        for task in self._state.tasks:
            cycle = served_by(task)
            if hasattr(cycle, "response_started") and _is_event_source(cycle.scope):
                found[cycle] = self._streams.get(cycle) or UvicornStream(cycle, task)
        self._streams = found
        return iter(list(found.values()))


def _is_event_source(scope: Any) -> bool:
    return scope["type"] == "http" and scope["method"] == "GET" and wants_only_events(scope)
