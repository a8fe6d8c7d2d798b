"""Whom does a task of uvicorn's serve?"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any


def served_by(task: asyncio.Task[None]) -> Any:
    """Return the protocol (of a WebSocket) or the cycle (of a request) whose `run_asgi` the task is."""
    coroutine = task.get_coro()
    return inspect.getcoroutinelocals(coroutine).get("self") if inspect.iscoroutine(coroutine) else None
