"""How does the process of a `call` step find and call its function?

`python -P -m launcher.steps.call_child module:function [import_dir]`. Exit code 0 when the function returned, whatever
it returned; 1 with a traceback when it, or importing it, raised; SystemExit is obeyed.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import traceback
from pathlib import Path
from types import TracebackType


def main(argv: list[str]) -> None:
    """Call `argv[0]`; exit 1 when that fails."""
    # The working directory first, as for `python -m`, then where the application is imported from.
    sys.path[:0] = list(dict.fromkeys([str(Path.cwd()), *argv[1:2]]))
    module, _, name = argv[0].partition(":")
    sys.argv = [argv[0]]
    try:
        _call(module, name)
    except Exception as error:  # noqa: BLE001 - whatever the application raises
        # Without our own frames, which say nothing about the application's mistake.
        traceback.print_exception(type(error), error, _beyond(error.__traceback__))
        sys.exit(1)


def _call(module: str, name: str) -> None:
    function = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    result = function()  # type: ignore[operator]  # not callable: the traceback says so
    if inspect.iscoroutine(result):
        import asyncio

        asyncio.run(result)


def _beyond(frame: TracebackType | None) -> TracebackType | None:
    while frame is not None and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    return frame


if __name__ == "__main__":
    main(sys.argv[1:])
