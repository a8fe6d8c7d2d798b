"""How is one process of this host the only one at a SQLite database?

By a lock file beside the database file, never by a transaction in it: `BEGIN EXCLUSIVE` would lock out the step's own
statements (evidence/locks.md M8). The records are a file too, so they stay when the database file is removed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import ClassVar

from launcher.databases import parse
from launcher.errors import UsageError
from launcher.locks import LockContext
from launcher.locks.file import FileLock, mounts, without_dots

_CURE = "--lock file locks in the project's folder, --lock file:PATH anywhere on this host"
_SUFFIX = ".launcher"  # the names beside app.db: app.db.launcher.lock, app.db.launcher.ledger.json


class SqliteLock(FileLock):
    """A lock file beside the database file; keeps `launcher.locks.Lock`."""

    kind: ClassVar[str] = "sqlite"

    def _choose(self, context: LockContext) -> tuple[Path, str]:
        """Return the lock file: every spelling of the database leads to it. Raises UsageError without a file."""
        self.database = _database(context)
        whose = f"@{without_dots(context.namespace)}" if context.namespace else ""
        return self.database.with_name(f"{self.database.name}{_SUFFIX}{whose}.lock"), ""

    @property
    def warning(self) -> str | None:
        """What is to be said about where the database is."""
        folder = self.database.parent
        if not os.path.lexists(folder):
            return f"{folder} is not there: it is made for the lock file, and a new database would be made in it"
        if self.database in mounts():
            return f"{self.database} is mounted without its folder: who mounts it elsewhere has another lock file"
        return super().warning


def _database(context: LockContext) -> Path:
    """Return the path of the database file, without links in it. Raises UsageError."""
    try:
        parts = parse(context.url)
    except ValueError as error:
        raise UsageError(f"--lock: {error}", cure="sqlite:///app.db, or sqlite:////var/lib/app.db") from None
    if parts.hosts:
        raise UsageError(
            f"{parts.hosts[0][0]!r} in the SQLite URL is read as a host",
            cure="three slashes: sqlite:///app.db, or four",
        )
    if not parts.database or parts.database.startswith((":memory:", "file:")):
        what = "has no file" if not parts.database.startswith("file:") else "is given as a file: URI"
        raise UsageError(f"the SQLite database {what}, so there is no place beside it for a lock", cure=_CURE)
    try:
        path = (context.cwd / parts.database).resolve()
        folder = _is_folder(path)
    except (OSError, RuntimeError, ValueError) as error:  # may not be entered; a loop of links; a NUL
        raise UsageError(f"the SQLite database {parts.database!r} cannot be found: {error}", cure=_CURE) from error
    if folder:
        raise UsageError(f"the SQLite database {path} is a folder", cure="the URL names a file: sqlite:///app.db")
    return path


def _is_folder(path: Path) -> bool:
    """Tell whether a folder is there. Raises OSError for a loop of links, which `resolve` passes since Python 3.13."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
