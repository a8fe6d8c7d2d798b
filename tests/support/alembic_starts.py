"""How does a test start a project with migrations again and again?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from launcher.steps.alembic import AlembicStep
from support.environment import clean_environment
from support.step_context import TestContext, settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.launched import Launched
    from support.spawning import Launch


class Started:
    """One start after another of the same project: what is remembered stays, the step is new each time."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None, **context: str) -> None:
        """Begin with nothing remembered."""
        environ = clean_environment(folder.parent, "", variables or {})
        self.context = TestContext(cwd=folder, environ=environ, **context)  # type: ignore[arg-type]  # of the keywords

    def due(self, **options: Any) -> tuple[bool | None, str, list[str]]:
        """Return the answer of a new step, the reason, and which children were needed for it."""
        answer = self.context.due(AlembicStep(settings("alembic", "alembic.ini", **options)))
        return answer.due, answer.because, [command.argv[4] for command in self.context.ran]

    def upgrade(self, **options: Any) -> tuple[int, str]:
        """Do the work; return exit status and output."""
        result, exports = self.context.carry_out(AlembicStep(settings("alembic", "alembic.ini", **options)))
        assert not exports
        return result.status, result.tail


def prestarted(launch: Launch, folder: Path, url: str, *words: str) -> Launched:
    """Return a `launcher prestart` of the project that has ended, under a lock file, with this DATABASE_URL."""
    launched = launch("prestart", "--lock", "file", *words, cwd=folder, env={"DATABASE_URL": url})
    launched.wait(50)
    return launched


def rows(path: Path) -> set[str]:
    """Return the version table of a SQLite file."""
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}


def put_rows(path: Path, *revisions: str) -> None:
    """Write a version table into a SQLite file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("DELETE FROM alembic_version")
        connection.executemany("INSERT INTO alembic_version VALUES (?)", [(one,) for one in revisions])
