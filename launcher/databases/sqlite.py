"""How is a SQLite file spoken to?"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from launcher.databases.errors import CannotAsk, TableMissing
from launcher.databases.session import Rows
from launcher.databases.url import DatabaseUrl


class Sqlite:
    """A connection of the standard library's sqlite3; keeps `launcher.databases.session.Connection`."""

    told_id: int | None = None

    def __init__(self, parts: DatabaseUrl, timeout_s: float, application: str | None) -> None:
        """Open the file, which is never created and knows no application. Raises TableMissing without one."""
        del application
        import sqlite3

        path = parts.database
        if path in {"", ":memory:"}:
            raise TableMissing("a database in memory begins empty")
        if path.startswith("file:"):
            raise CannotAsk("a SQLite file: URI cannot be read without its options")
        if not Path(path).exists():
            raise TableMissing(f"there is no file {path}")
        # rw creates no file either; unlike ro it reads a database in WAL mode or with a hot journal (sqlite.org/wal)
        name = f"file:{quote(str(Path(path).absolute()))}?mode=rw"
        self._connection = sqlite3.connect(name, uri=True, timeout=timeout_s, isolation_level=None)

    def execute(self, sql: str, values: tuple[object, ...]) -> Rows:
        """See `Connection.execute`."""
        text = sql.replace("%s", "?") if values else sql
        return [tuple(row) for row in self._connection.execute(text, values)]

    def fileno(self) -> int | None:
        """There is no socket."""
        return None

    def close(self) -> None:
        """See `Connection.close`."""
        self._connection.close()
