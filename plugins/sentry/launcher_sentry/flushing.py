"""Does a worker that leaves send what it still holds?

The SDK sends in a thread, which dies with the process, and drains it at the interpreter's exit, which a server that
ends by its signal never reaches (docs.sentry.io, "Draining"). The end of the lifespan is the last moment that is sure.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sentry_sdk

LONGEST_S = 2.0
_LEAVES = frozenset({"lifespan.shutdown.complete", "lifespan.shutdown.failed"})

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[Any]]


def launcher_wrap_app(app: App) -> App | None:
    """Return the application with a flush before the answer that ends its lifespan; None when it knows no Sentry."""
    if "sentry_sdk" not in sys.modules:  # no request is to pay for nothing
        return None

    def call(scope: Any, receive: Receive, send: Send) -> Awaitable[Any]:
        return app(scope, receive, _flushing(send) if scope["type"] == "lifespan" else send)

    return call


def _flushing(send: Send) -> Send:
    async def flush_and_send(message: Message) -> None:
        if message["type"] in _LEAVES:
            await _flush()
        await send(message)

    return flush_and_send


async def _flush() -> None:
    """Wait until everything is sent, for two seconds at most. Nothing happens where `sentry_sdk.init` was not called.

    In a thread that nobody waits for at the end: the loop's own pool would be waited for.
    """
    import asyncio
    import contextlib
    import threading

    import sentry_sdk

    if not (client := sentry_sdk.get_client()).is_active():
        return
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def flush() -> None:
        _drain(client)
        with contextlib.suppress(RuntimeError):  # the loop has not waited
            loop.call_soon_threadsafe(over.set)

    threading.Thread(target=flush, name="sentry flush", daemon=True).start()
    try:
        await asyncio.wait_for(over.wait(), LONGEST_S)
    except TimeoutError:
        return


def _drain(client: sentry_sdk.client.BaseClient) -> None:
    try:
        client.flush(timeout=LONGEST_S)
    except Exception:  # noqa: BLE001 - whatever a transport raises: a worker's end must not become a failure by it
        return
