"""Where does each asyncio task of this process wait?

Called from a signal's handler, while the main thread is anywhere: nothing in here waits, and it never raises.
"""

from __future__ import annotations

import gc
import linecache
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

MOST_TASKS = 100  # what is read of the evidence is 64 KiB
_DEEPEST = 50  # awaits of one task
# Where a coroutine, a generator and an asynchronous generator are, and what each of them waits for.
_PLACES = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))


def write_stacks(write: Callable[[str], None], loop: asyncio.AbstractEventLoop | None, frame: FrameType | None) -> None:
    """Write where the main thread is (`frame`), then the tasks of `loop` with every await they are in."""
    try:
        write(f"Main thread:\n{''.join(traceback.format_stack(frame))}")
        if loop is not None:
            for text in task_stacks(loop):
                write(text)
    except Exception as error:  # noqa: BLE001 - a signal's handler: raised, it would come out of the application's line
        write(f"stacks could not be written: {error!r}\n")


def task_stacks(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """Yield a text for each task of the loop (the first MOST_TASKS), oldest name first."""
    import asyncio

    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: (len(task.get_name()), task.get_name()))
    yield f"{len(tasks)} asyncio tasks:\n"
    for task in tasks[:MOST_TASKS]:
        yield f"Task {task.get_name()}:\n{''.join(_lines(task.get_coro()))}"


def _lines(waiting: Any) -> Iterator[str]:
    """Yield a line for each await, the outermost first. A task's own `get_stack` knows only the outermost."""
    for _ in range(_DEEPEST):
        frame, inner = _place(waiting)
        if frame is None:
            return
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_qualname}\n'
        if source := linecache.getline(code.co_filename, frame.f_lineno).strip():
            yield f"    {source}\n"
        waiting = inner


def _place(waiting: Any) -> tuple[FrameType | None, Any]:
    if type(waiting).__name__ == "coroutine_wrapper":  # of `__await__()`; it shows its coroutine to the collector only
        waiting = next(iter(gc.get_referents(waiting)), None)
    for frame, inner in _PLACES:
        if hasattr(waiting, frame):
            return getattr(waiting, frame), getattr(waiting, inner)
    return None, None
