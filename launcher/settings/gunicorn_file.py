"""What do a gunicorn configuration file and GUNICORN_CMD_ARGS set?

A program of its own, run in a child process: the file is Python and may print, change the process or never end, so it
is executed here, away from the launcher, as gunicorn will execute it again. Standard input:
`{"args": [...], "config": str | null, "defaults": [...], "names": [...]}`; standard output:
`{"args": {...}, "file": {...}, "config": str | null, "computed": bool}`; where one of them is wrong, not exit status 0,
and a traceback or gunicorn's usage message on standard error. It imports nothing of the launcher.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

# A name of the retired images' own file, which counts the machine's cores where WEB_CONCURRENCY is not set:
# `workers` is then nobody's wish.
_IMAGES_NAME = "default_web_concurrency"


def main() -> None:
    """Answer the question on standard input."""
    answer_descriptor = os.dup(1)
    os.dup2(2, 1)  # what the file prints must not get into the answer
    question = json.load(sys.stdin)
    sys.argv = ["gunicorn"]
    sys.dont_write_bytecode = True
    names: Sequence[str] = question["names"]
    given = _arguments(question["args"]) if question["args"] else {}
    config: str | None = question["config"] or given.pop("config", None)
    config = config or next((path for path in question["defaults"] if Path(path).is_file()), None)
    found = _execute(config) if config else {}
    answer = {
        "args": _simple(given, names),
        "file": _simple(found, names),
        "config": config,
        "computed": _IMAGES_NAME in found,
    }
    os.write(answer_descriptor, json.dumps(answer).encode())


def _arguments(args: Sequence[str]) -> dict[str, Any]:
    """Return what gunicorn's own parser and validators make of its arguments; they exit or raise where it would."""
    from gunicorn.config import Config  # 80 ms, needed only when GUNICORN_CMD_ARGS is set

    config: Any = Config()  # type: ignore[no-untyped-call]  # gunicorn ships no types
    given = {name: value for name, value in vars(config.parser().parse_args(args)).items() if value is not None}
    given.pop("args", None)
    for name, value in given.items():
        if name != "config":
            config.set(name, value)
    return given


def _execute(location: str) -> Mapping[str, object]:
    """Return the names a configuration defines, found as gunicorn finds it: a path, `file:PATH` or `python:MODULE`."""
    sys.path.insert(0, str(Path.cwd()))
    if location.startswith("python:"):
        return vars(importlib.import_module(location.removeprefix("python:")))
    loader = SourceFileLoader("__config__", location.removeprefix("file:"))
    spec = importlib.util.spec_from_loader("__config__", loader)
    if spec is None:
        raise ImportError(location)
    module = importlib.util.module_from_spec(spec)
    sys.modules["__config__"] = module
    loader.exec_module(module)
    return vars(module)


def _simple(values: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    """Return those of the named settings that JSON can hold; a class becomes its dotted name."""
    simple: dict[str, object] = {}
    for name in names:
        if name not in values:
            continue
        value = values[name]
        if isinstance(value, type):
            value = f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, tuple):
            value = list(value)
        if value is None or isinstance(value, str | int | float | list):
            simple[name] = value
    return simple


if __name__ == "__main__":
    main()
