"""What lies between a server and the application?

As little as possible: every request pays for it (tests/benchmarks/bench_scoreboard.py).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from launcher.inflight import App, Receive, Scope, Send, watched
from launcher.scoreboard import Slot
from launcher.serving.workers.event_streams import EventStreams, wants_events
from launcher.serving.workers.lifespan import Lifespan


def wrapped(app: App, slot: Slot | None, lifespan: Lifespan, streams: EventStreams) -> App:
    """Return `app`, whose lifespan and streams of events are noted, and whose requests are where there is a slot."""

    def call(scope: Scope, receive: Receive, send: Send) -> Awaitable[Any]:
        kind = scope["type"]
        if kind == "http":
            if scope["method"] == "GET" and wants_events(scope):
                return streams.run(app, scope, receive, send)
        elif kind == "lifespan":
            return lifespan.run(app, scope, receive, send)
        return app(scope, receive, send)

    return watched(call, slot) if slot is not None else call
