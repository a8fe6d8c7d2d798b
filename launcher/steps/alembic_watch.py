"""What does a run of env.py touch outside the database?

Found by audit events (PEP 578): which files it opens for reading, and which SQLite file it is about to create. A hook
cannot be removed; it does nothing once the run is over.
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path
from typing import Any

_MOST = 500  # files: more than that are no configuration, and each start would have to read them
_INSTALLED = ("site-packages", "dist-packages")  # their folders' times are looked at instead
_OF_THE_SYSTEM = ("/proc", "/sys", "/dev")


class NoFile(BaseException):
    """env.py is about to create an empty SQLite file, only to be asked what is in it."""


class Watch:
    """Around runs of env.py, as a context manager."""

    def __init__(self, *, creates_files: bool) -> None:
        """With `creates_files` off, connecting to a SQLite file that is not there raises NoFile."""
        self._creates_files, self._active = creates_files, False
        self._opened: dict[str, None] = {}
        sys.addaudithook(self._hear)

    def __enter__(self) -> Watch:  # noqa: PYI034 - nobody derives from it
        """Begin to listen."""
        self._active = True
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._active = False

    def opened(self, migrations: Collection[Path]) -> list[str] | None:
        """Return the files it wanted to read, there or not, without the folders of migrations; None: too many."""
        left_out = tuple(f"{folder}/" for folder in (*_standard_library(), *_OF_THE_SYSTEM, *migrations))
        found = [path for path in self._opened if not path.startswith(left_out) and _may_decide(path)]
        return sorted(found) if len(found) <= _MOST else None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike) and _reads(*arguments[1:3]):
            self._opened[os.path.abspath(os.fsdecode(arguments[0]))] = None  # noqa: PTH100 - no link is followed
        elif event == "sqlite3.connect" and not self._creates_files:
            _check_is_there(arguments[0])


def _reads(mode: object, flags: object) -> bool:
    if isinstance(mode, str):  # `w+` and `x+` begin with nothing
        return "r" in mode or "a+" in mode.replace("b", "").replace("t", "")
    if not isinstance(flags, int):
        return True
    return flags & os.O_ACCMODE != os.O_WRONLY and not flags & (os.O_TRUNC | os.O_EXCL)


def _standard_library() -> set[str]:
    """Return its folders. Not the whole prefix: with a system's Python that is /usr, and an image may work below it."""
    return {path for name, path in sysconfig.get_paths().items() if name in {"stdlib", "platstdlib"}}


def _may_decide(path: str) -> bool:
    """Whether it is a file or not there: what appears later may be read instead of a default."""
    if path.endswith(".pyc") or any(f"/{folder}/" in path for folder in _INSTALLED):
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - of a string
    except (OSError, ValueError):
        return "\0" not in path


def _check_is_there(database: object) -> None:
    path = os.fsdecode(database) if isinstance(database, str | bytes | os.PathLike) else ""
    if path and path != ":memory:" and not path.startswith("file:") and not Path(path).exists():
        raise NoFile(path)
