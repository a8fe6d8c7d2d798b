"""Which of several launchers is meant?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.errors import UsageError
from launcher.instances import Instance
from launcher.instances.asking import get

_ASK_S = 2.0


def told_apart(running: Sequence[Instance]) -> Instance:
    """Return the one whose working directory is ours; raise UsageError, which lists them, when that is none or many."""
    near = [one for one in running if _folder(one) == _here()]
    if len(near) == 1:
        return near[0]
    lines = [_line(one, _status(one)) for one in near or running]
    raise UsageError(
        f"{len(lines)} launchers run {'in this folder' if near else 'here'}",
        detail="\n".join(lines),
        cure="name one with --pid or --socket, or ask in its working directory",
    )


def _here() -> str:
    try:
        return os.path.realpath(Path.cwd())
    except OSError:  # it was removed
        return os.devnull  # nobody's


def _line(one: Instance, status: dict[str, Any]) -> str:
    return (
        f"--pid {one.pid}  {status.get('app') or '(does not answer)'}  in {_folder(one, status) or '?'}  {one.address}"
    )


def _folder(one: Instance, status: dict[str, Any] | None = None) -> str:
    """Return its working directory: of the process, which answers at once; else what its monitor says."""
    try:
        if Path("/proc/self").readlink().name == str(os.getpid()):  # this /proc is of our pid namespace
            return str(Path(f"/proc/{one.pid}/cwd").readlink())
    except OSError:
        pass
    said = (_status(one) if status is None else status).get("cwd")
    return os.path.realpath(said) if isinstance(said, str) else ""


def _status(one: Instance) -> dict[str, Any]:
    """Return what it says of itself, {} when it does not answer."""
    import json  # seldom

    try:
        told = json.loads(get(one.address, "/status", _ASK_S).body)
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
