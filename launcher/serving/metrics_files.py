"""What becomes of the files of prometheus_client when workers come and go?

With PROMETHEUS_MULTIPROC_DIR each process writes files named after its pid, and whoever is scraped adds all of them up.
Three things are left to the server: an empty folder at the start (a gauge of the last container would be added), the
removal of what says "now" about the dead, and a bound. Files of counters are never removed, so with pids the folder
grows with each restart (client_python issue 275), on a tmpfs at the expense of the memory limit. Here a worker is known
by its slot: its successor goes on in the same files, and a counter goes on counting.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launcher.log import log

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_OLD_VARIABLE = VARIABLE.lower()  # deprecated, and still read by prometheus_client
# `{type}_{process}.db`; of gauges the mode stands between. What is not of this shape is not the library's.
_FILE = re.compile(r"(?:counter|histogram|summary|gauge_[a-z]+)_[^/]*\.db")

_TEMPLATE = "template"  # the one that others are forked from: the same name after each reload
_known_as: tuple[int, int | str] | None = None  # pid and the name of its files: what it forks is another process


def metrics_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder that prometheus_client will use; None without one."""
    name = environ.get(VARIABLE) or environ.get(_OLD_VARIABLE)
    return Path(name) if name else None


def wipe(folder: Path) -> None:
    """Remove the files of earlier processes and make the folder if it is missing; what cannot be done is a warning.

    For the arbiter, before its first worker: two servers with one folder are wrong in any case.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if _FILE.fullmatch(path.name):
                path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("launcher.metrics_folder_unusable", folder=str(folder), because=str(error))


def mark_dead(folder: Path, identifier: int) -> None:
    """Remove what the worker of this slot said of the present: its `live` gauges. For the arbiter, after the reap."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"gauge_live*_{identifier}.db"):
            path.unlink(missing_ok=True)


def use_slot(index: int | None) -> None:
    """Let prometheus_client write under this slot's number instead of the pid, when it is there and has a folder.

    For a worker, before it imports the application. With `--preload` also for the process that imports it, with None,
    and in each worker that is forked from it: the metrics that were made before the fork follow.
    """
    global _known_as  # noqa: PLW0603 - one process has one slot
    _known_as = (os.getpid(), _TEMPLATE if index is None else index)
    if metrics_folder() is None:
        return
    try:
        from prometheus_client import values  # the application's; only where it has said that it wants files
    except ImportError:
        return
    if getattr(values.ValueClass, "of_launcher", False):  # forked: what there is already goes on
        return
    make: Callable[..., Any] = values.MultiProcessValue
    ours = make(process_identifier=_identifier)
    ours.of_launcher = True
    values.ValueClass = ours


def _identifier() -> int | str:
    pid = os.getpid()
    return _known_as[1] if _known_as is not None and _known_as[0] == pid else pid
