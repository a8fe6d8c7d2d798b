"""How is an asynchronous driver asked from code that is not?

In an event loop that belongs to one connection and turns only while the connection is asked. Between two questions
nothing reads from the socket, so that whoever watches its descriptor sees what the server sends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class PrivateLoop:
    """An event loop for one connection; any thread may turn it, one at a time."""

    def __init__(self) -> None:
        """Make the loop. Not uvloop's, whatever the application has set: its transports hide their sockets."""
        self._loop = asyncio.SelectorEventLoop()

    def run(self, question: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns. Raises what it raises."""
        return self._loop.run_until_complete(question)

    def close(self, end: Callable[[], object] | None = None) -> None:
        """Call `end`, which lets go of the transport without waiting, and close the loop."""
        if self._loop.is_closed():
            return
        try:
            with contextlib.suppress(Exception):
                self.run(_ended(end))
        finally:
            self._loop.close()


async def _ended(end: Callable[[], object] | None) -> None:
    """Let the transport's last call-backs happen: it closes its socket in the next turn of the loop."""
    if end is not None:
        end()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
