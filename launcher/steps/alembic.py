"""How is the schema brought to this image's revision?

Whether there is anything to do is found out the cheapest way that is certain: by one question to a database that is
known (heads by the content of the migrations), else by the project's own env.py in a child. Never half: whatever is not
certain goes to Alembic itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from launcher.databases import CannotAsk, DatabaseUnreachable, TableMissing, is_local
from launcher.databases import url as databases
from launcher.errors import ExitCode
from launcher.settings.topics import OncePer, StepSettings
from launcher.steps import Command, Due, Finished, StepContext, checking
from launcher.steps.alembic_answer import State, answer, decoded, nothing_yet, state
from launcher.steps.alembic_codes import PLACES, UNKNOWN_REVISION, UNREACHABLE
from launcher.steps.alembic_failure import AskingFailed, failure
from launcher.steps.alembic_guess import by_variable
from launcher.steps.alembic_indexes import report_invalid
from launcher.steps.alembic_memory import Basis, Table, fingerprint, holds, recall, to_remember
from launcher.steps.alembic_project import Project, found_alembic, read_project
from launcher.steps.revisions import CannotTell, Revisions, read_revisions

__all__ = ["UNKNOWN_REVISION", "AlembicStep", "AskingFailed", "found_alembic"]

_QUESTION_TIMEOUT_S = 8.0  # connecting, and one row
_EXIT_CODES = {UNKNOWN_REVISION: ExitCode.STEP_FAILED, UNREACHABLE: ExitCode.DEPENDENCY_DOWN}
_ASKING_S = 60.0  # env.py, to be asked: the step's own time is meant for migrations


class AlembicStep:
    """`alembic upgrade heads`, when it is due."""

    once_per: ClassVar[OncePer] = "start"
    needs_lock: ClassVar[bool] = True
    tells_due: ClassVar[bool] = True

    def __init__(self, settings: StepSettings) -> None:
        """Raise UsageError for a value that is no path and for options Alembic has not."""
        given = checking.options(settings, "target", "section", "name")
        self._value = checking.text(settings, "the path of an alembic.ini or a pyproject.toml")
        self._target = given.get("target", "heads")
        self._section = given.get("section", given.get("name", "alembic"))
        if self._target[0] in "+-" or ":" in self._target:
            raise checking.refusal(settings, f"target {self._target!r} would mean something else at each start")
        self._settings = settings
        self._forget({})

    def _forget(self, environ: Mapping[str, str]) -> None:
        """Begin anew with this environment: a step between two looks may have exported another database."""
        self._environ = environ
        self._table: Table | None = None  # as soon as it is known
        self._missing: Path | None = None  # the SQLite file that env.py would have created
        self._basis: Basis | None = None  # of env.py's answer; None for what needs none
        self._revisions: Revisions | None = None
        self._told_url: str | None = None  # of the first database that env.py told, whether it may be kept or not
        self._whole = True
        self._failed: AskingFailed | None = None

    @property
    def is_local(self) -> bool | None:
        """Whether the database is on this machine; None while it is not known."""
        return is_local(self._table.url) if self._table else None

    @property
    def database(self) -> str | None:
        """The database without password, for people and for records; None while it is not known."""
        if self._missing is not None:
            return databases.database_name(_sqlite_url(self._missing))
        return self._table.database if self._table else None

    @property
    def database_url(self) -> str | None:
        """The URL of the first database that it works on, complete with its password; known after `due`, or None.

        Only ever in memory. The path of a SQLite file is absolute; the file need not be there.
        """
        if self._missing is not None:
            return _sqlite_url(self._missing)
        return self._table.url if self._table else self._told_url

    @property
    def url_is_whole(self) -> bool:
        """False: env.py's engine connects in its own way (`creator`, `do_connect`), so its URL may lead elsewhere."""
        return self._whole

    @property
    def asking_failed(self) -> AskingFailed | None:
        """Why env.py could not be asked when `due` needed it; None when it was not needed or has answered."""
        return self._failed

    def due(self, context: StepContext) -> Due:
        """Compare the database with the migrations, without changing either."""
        self._failed = None
        if self._environ is not context.environ:
            self._forget(context.environ)
        try:
            project = read_project(context.cwd / self._value, self._section, context.cwd)
            if self._basis and not holds(self._basis, project, context.cwd, context.environ):
                self._forget(context.environ)
            if self._missing is not None and not self._missing.exists():
                return nothing_yet(self._missing)
            if self._target in {"heads", "head"} and (table := self._known(project, context)):
                return self._ask_database(table, project, context)
        except (CannotTell, OSError):
            pass  # the certain way remains
        return self._ask_env_py(context)

    def command(self, context: StepContext) -> Command:
        """Return the child that upgrades; it reports which database it was, so that the next start knows."""
        return self._child("upgrade", context, _EXIT_CODES)

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:
        """Keep what the next start can ask by; say what the migrations have left behind."""
        told = decoded(result.report)
        self._learn(told, context)
        for url in dict.fromkeys(str(each["url"]) for each in told.get("databases", ()) if each.get("whole")):
            report_invalid(self._settings.name, url, context)
        return {}

    def where(self) -> str:
        """Return the configuration's path, and what differs from Alembic's own defaults."""
        target = "" if self._target == "heads" else f" to {self._target}"
        section = "" if self._section == "alembic" else f" [{self._section}]"
        return self._value + section + target

    def _known(self, project: Project, context: StepContext) -> Table | None:
        """Return the version table when it is known without env.py: from this start, an earlier one, DATABASE_URL."""
        if self._table is None or self._basis is None:
            kept = context.remembered(self._memory_key)
            if kept is not None and (found := recall(kept, project, context.cwd, context.environ)):
                self._table, self._basis = found
        if self._table is not None and self._basis is not None:
            return self._table
        return by_variable(project, context.cwd, context.environ)

    def _ask_database(self, table: Table, project: Project, context: StepContext) -> Due:
        """Answer by one question. Raises CannotTell."""
        self._table, self._missing = table, None
        revisions = self._revisions = self._revisions or read_revisions(
            project.version_folders, recursive=project.recursive
        )
        if self._target == "head" and len(revisions.heads) > 1:
            raise CannotTell("several heads")
        try:
            rows = _rows(table, context)
        except CannotAsk as error:
            raise CannotTell(str(error)) from None
        except TableMissing as error:
            return Due(due=True, because=f"nothing has been migrated yet: {error}", fresh=True)
        except (DatabaseUnreachable, TimeoutError) as error:
            return Due(due=None, because=f"the database could not be asked: {error}")
        unknown = rows - revisions.ids
        pending = not rows >= revisions.heads
        found = State(rows=rows, heads=revisions.heads, unknown=unknown, pending=pending)
        return answer([found], context.on_unknown_revision)

    def _ask_env_py(self, context: StepContext) -> Due:
        """Let the project's own env.py open its databases, and compare each."""
        result = context.run(self._child("ask", context), timeout_s=min(self._settings.timeout_s, _ASKING_S))
        told = decoded(result.report)
        if result.ok and told.get("missing"):
            missing = Path(os.path.normpath(context.cwd / told["missing"]))
            self._forget(context.environ)
            self._told_url = _sqlite_url(missing)
            if basis := self._basis_of(told, context):
                self._missing, self._basis = missing, basis
            return nothing_yet(missing)
        if not result.ok or not told.get("databases"):
            self._failed = failure(result, told)
            return Due(due=None, because=f"env.py could not be asked: {self._failed.text}")
        self._learn(told, context)  # when it is due as well: the look under the lock is then one question
        return answer([state(each) for each in told["databases"]], context.on_unknown_revision)

    def _learn(self, told: Mapping[str, Any], context: StepContext) -> None:
        """Keep how to ask next time, if there is one database and it answers a plain question in the same way."""
        self._forget(context.environ)
        self._told_url, self._whole = _first_url(told, context)
        kept = None
        try:
            basis, table = self._basis_of(told, context), _one_table(told, context)
            if basis is not None and table is not None:
                self._table, self._basis = table, basis
                kept = to_remember(table, basis, context.cwd, context.environ)
        except (CannotTell, DatabaseUnreachable, TimeoutError, OSError, ValueError):
            pass  # it only costs the next start some time
        if kept or context.remembered(self._memory_key):
            context.remember(self._memory_key, kept)

    def _basis_of(self, told: Mapping[str, Any], context: StepContext) -> Basis | None:
        """Return what this answer of env.py rests on, or None when that cannot be told."""
        if not isinstance(opened := told.get("opened"), list):
            return None
        try:
            project = read_project(context.cwd / self._value, self._section, context.cwd)
            return Basis(mark=fingerprint(project, context.cwd, context.environ, opened), opened=tuple(opened))
        except (CannotTell, OSError):
            return None

    def _child(self, what: str, context: StepContext, exit_codes: Mapping[int, int] | None = None) -> Command:
        asked = {
            "config": self._value,
            "section": self._section,
            "target": self._target,
            "on_unknown_revision": context.on_unknown_revision,
            "import_dir": str(context.import_dir or context.cwd),
        }
        return Command(
            argv=(sys.executable, "-P", "-m", "launcher.steps.alembic_child", what, json.dumps(asked)),
            reports=True,
            must_report=True,
            exit_codes=exit_codes or {},
        )

    @property
    def _memory_key(self) -> str:
        return f"alembic {self._value} [{self._section}]"


def _sqlite_url(path: Path) -> str:
    return databases.absolute(f"sqlite:///{quote(str(path))}", path.parent)


def _first_url(told: Mapping[str, Any], context: StepContext) -> tuple[str | None, bool]:
    """Return the URL of the first database that env.py told, and whether its engine connects by nothing else."""
    first: Mapping[str, Any] = next(iter(told.get("databases", ())), {})
    try:
        return databases.absolute(first["url"], context.cwd), first.get("whole") is not False
    except (KeyError, ValueError):  # Alembic was configured by a dialect's name, without a connection
        return None, True


def _one_table(told: Mapping[str, Any], context: StepContext) -> Table | None:
    """Return the version table that env.py told of, if a plain connection sees the same one. Raises CannotTell, ..."""
    if len(told.get("databases", ())) != 1:
        return None
    [each] = told["databases"]
    if each.get("whole") is False:
        return None
    url = databases.absolute(each["url"], context.cwd)
    table = Table(url=url, name=each["version_table"], schema=each["version_table_schema"])
    place = PLACES.get(databases.parse(url).dialect)
    try:  # before the first migration there is no table, and so there are no rows
        rows = _rows(table, context)
    except TableMissing:
        rows = frozenset()
    if place is None or rows != frozenset(each["rows"]):
        return None
    return table if [list(map(str, row)) for row in _asked(url, place, context)] == [each["place"]] else None


def _rows(table: Table, context: StepContext) -> frozenset[str]:
    return frozenset(str(row[0]) for row in _asked(table.url, table.question, context))


def _asked(url: str, question: str, context: StepContext) -> list[tuple[object, ...]]:
    return context.ask(url, question, timeout_s=_QUESTION_TIMEOUT_S)
