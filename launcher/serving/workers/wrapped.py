"""What lies between a server and the application?

As little as possible: every request pays for it (tests/benchmarks/bench_scoreboard.py).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from launcher.inflight import App, Receive, Scope, Send, Shortcut, watched
from launcher.scoreboard import Slot
from launcher.serving.rules import Rules
from launcher.serving.workers.event_streams import EventStreams, wants_events
from launcher.serving.workers.lifespan import Lifespan

# All that uvicorn's middleware reads (tests/contract/test_worker_assumptions.py).
PROXY_HEADERS = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})


def wrapped(
    app: App,
    slot: Slot | None,
    lifespan: Lifespan,
    streams: EventStreams | None = None,
    rules: Rules | None = None,
) -> App:
    """Return `app`, whose lifespan is noted, its requests where there is a slot.

    rules: which plugins come first, and how answers are counted.
    streams: where streams of events are noted, for a server whose connections cannot be asked for them at the end.
    """
    if rules is not None and rules.wrap_app:
        from launcher.serving.workers.wrap_app import wrap  # pluggy, where a plugin wants it

        app = wrap(app, rules.wrap_app)

    def call(scope: Scope, receive: Receive, send: Send) -> Awaitable[Any]:
        kind = scope["type"]
        if kind == "lifespan":
            return lifespan.run(app, scope, receive, send)
        if streams is not None and kind == "http" and scope["method"] == "GET" and wants_events(scope):
            return streams.run(app, scope, receive, send)
        return app(scope, receive, send)

    if slot is None:
        return call
    by_status = rules is not None and rules.metrics_by_status
    if streams is not None:
        return watched(call, slot, others=call, by_status=by_status)
    return watched(app, slot, others=call, by_status=by_status, shortcut=past_proxy_headers(app))


def past_proxy_headers(app: Any) -> Shortcut | None:
    """Return the way past uvicorn's middleware for what a proxy tells; None when it is not the outermost.

    A request that comes through no proxy pays as much for it as for being noted.
    """
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    if type(app) is not ProxyHeadersMiddleware:
        return None
    inner: Any = app.app  # uvicorn's own types name each message
    return Shortcut(inner, PROXY_HEADERS)
