"""How is an asynchronous driver asked from code that is not?

In an event loop that belongs to one connection and turns only while the connection is asked. Between two questions
nothing reads from the socket, so that whoever watches its descriptor sees what the server sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Loop(asyncio.SelectorEventLoop):
    """Its blocking calls, look-ups of names, end with the process: a pool's threads are joined before it may exit."""

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call it in a daemon thread of its own, whatever executor is named."""
        del executor
        answer = Future[T]()
        threading.Thread(target=_settle, args=(answer, func, args), name="blocking call", daemon=True).start()
        return asyncio.wrap_future(answer, loop=self)


def _settle(answer: Future[T], func: Callable[[*Ts], T], args: tuple[*Ts]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(func(*args))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits for the answer
        answer.set_exception(error)


class PrivateLoop:
    """An event loop for one connection; any thread may turn it, one at a time."""

    def __init__(self) -> None:
        """Make the loop. Not uvloop's, whatever the application has set: its transports hide their sockets."""
        self._loop = _Loop()

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
