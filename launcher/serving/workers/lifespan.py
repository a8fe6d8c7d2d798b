"""What if an application leaves, instead of failing, while it starts?

`sys.exit()` in a lifespan is no failure to uvicorn (an application without lifespan raises there, too, and is served)
and an exit code of the application's choice to gunicorn's asgi worker. Said in ASGI's own words, it is a failed start
to both.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any

from launcher.inflight import App, Receive, Scope, Send

QUICK_S = 1.0  # for the shutdown, when nobody may be waited for
_POLL_S = 0.05


class Lifespan:
    """One run of an application's lifespan.

    error: what the application raised before it had answered to `lifespan.startup`; None: nothing.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._answered = False

    async def run(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with a scope of type lifespan."""

        async def noted(message: MutableMapping[str, Any]) -> None:
            self._answered = True
            await send(message)

        try:
            await app(scope, receive, noted)
        except (SystemExit, KeyboardInterrupt) as end:
            if self._answered:
                raise
            self.error = end
            await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
        except BaseException as error:
            if not self._answered:
                self.error = error
            raise


async def ended(shutdown: Coroutine[Any, Any, None], hurried: Callable[[], bool], until: float | None) -> bool:
    """Run a lifespan's shutdown; False when it was cancelled, `until` a time (monotonic) or QUICK_S after `hurried`.

    until: None in the pool, where the arbiter looks at the clock, and asks for stacks before it kills.
    """
    ending = asyncio.ensure_future(shutdown)
    while not ending.done():
        await asyncio.wait({ending}, timeout=_POLL_S)
        now = time.monotonic()
        if hurried():
            until = min(now + QUICK_S, until or float("inf"))
        if until is not None and now >= until:
            ending.cancel()
            return False
    await ending
    return True
