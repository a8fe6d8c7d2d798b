"""What does the process of an Alembic step do?

`python -P -m launcher.steps.alembic_child ask|upgrade|check JSON`. All run the project's env.py online, the way
`alembic current` and `alembic upgrade` do; `ask` makes no step and changes nothing, and the same look after an upgrade
tells whether it was committed. Which databases env.py opened is answered as JSON on the report descriptor and nowhere
else: their URLs are complete.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

gc.disable()  # importing Alembic and SQLAlchemy leaves no garbage to look for: 25 of 320 ms
# Before sys.path is extended below: a project's own folder `alembic` must not take its place.
import alembic.config
import alembic.runtime.environment
import alembic.script
import alembic.util

from launcher.steps.alembic_codes import PLACES, UNKNOWN_REVISION, UNREACHABLE
from launcher.steps.alembic_engine import is_whole, name_connections
from launcher.steps.alembic_failure import is_crowded, told_of
from launcher.steps.alembic_watch import NoFile, Watch

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

Told = dict[str, Any]
_PAUSE_S = (0.3, 1.2)
_PATIENCE_S = {"ask": 20.0, "upgrade": 120.0, "check": 120.0}  # with a server that is full; to ask has 60 s in all


class UnknownRevision(BaseException):
    """The database is at revisions that no migration of this image has. Not for an `except Exception` in env.py."""


def main(what: str, asked: Told) -> int:
    """Do it, report, and return the exit code."""
    told: Told = {"databases": []}
    if what == "upgrade":  # a migration may move data, and then there is garbage; a question is over at once
        gc.enable()
        name_connections()
    try:
        code = {"ask": _ask, "upgrade": _upgrade, "check": _check}[what](asked, told)
    except UnknownRevision as error:
        sys.stderr.write(f"{error}\n")
        return UNKNOWN_REVISION
    except alembic.util.CommandError as error:
        return _failed(f"FAILED: {error}", error)
    except SystemExit as error:
        return _failed(f"env.py ended the process by itself: sys.exit({error.code!r})", error)
    except Exception as error:
        failed = told_of(error)
        untouched = failed["unreachable"] and "began" not in told
        if untouched and is_crowded(error):
            _again(what, asked)
        _report({"failed": failed})
        if what != "upgrade" or not untouched:
            raise
        traceback.print_exception(error)
        return UNREACHABLE
    _report(told)
    return code


def _again(what: str, asked: Told) -> None:
    """Begin anew in this process, after a pause, as long as there is time; return when there is not."""
    pause_s = random.uniform(*_PAUSE_S)  # noqa: S311 - spreads those who were refused together
    deadline = asked.setdefault("deadline", time.monotonic() + _PATIENCE_S[what])
    if time.monotonic() + pause_s < deadline:
        sys.stderr.write("the database has no connection free: trying again\n")
        time.sleep(pause_s)
        _become(what, asked)


def _become(what: str, asked: Told) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    argv = [sys.executable, "-P", "-m", "launcher.steps.alembic_child", what, json.dumps(asked)]
    os.execv(sys.executable, argv)


def _report(told: Told) -> None:
    """Tell the launcher, once."""
    descriptor = os.environ.get("LAUNCHER_STEP_REPORT_FD")
    if descriptor is not None:
        with os.fdopen(int(descriptor), "wb") as report:
            report.write(json.dumps(told).encode())


def _failed(why: str, error: BaseException | None = None) -> int:
    sys.stderr.write(f"{why}\n")
    if error is not None:
        _report({"failed": {**told_of(error), "text": why}})
    return 1


def _configured(asked: Told) -> tuple[alembic.config.Config, ScriptDirectory]:
    """Return what the command line `alembic -c CONFIG -n SECTION` would work with."""
    path = asked["config"]
    ini, toml = ("alembic.ini", path) if Path(path).name == "pyproject.toml" else (path, "pyproject.toml")
    config = alembic.config.Config(
        ini if Path(ini).exists() or toml != path else None, toml_file=toml, ini_section=asked["section"]
    )
    script = alembic.script.ScriptDirectory.from_config(config)  # puts prepend_sys_path before the rest
    sys.path += [folder for folder in (asked["import_dir"], str(Path.cwd())) if folder not in sys.path]
    return config, script


def _ask(asked: Told, told: Told) -> int:
    """Report the state of each database that env.py configures."""
    _look(asked, *_configured(asked), told, Watch(creates_files=False))
    return 0


def _upgrade(asked: Told, told: Told) -> int:
    config, script = _configured(asked)
    contexts: list[MigrationContext] = []
    behind: list[str] = []  # databases ahead of this image, left as they are

    def steps(rows: Any, context: MigrationContext) -> list[Any]:
        if unknown := _unknown(context.get_current_heads(), script):
            _unknown_found(unknown, asked["on_unknown_revision"])
            behind.extend(unknown)
            return []
        contexts.append(context)
        told["began"] = True
        # What alembic.command.upgrade hands over at this place; it has no way in for the look before it.
        return script._upgrade_revs(asked["target"], rows)  # noqa: SLF001 - see above

    watch = Watch(creates_files=True)
    with watch:
        _run(config, script, steps, destination_rev=asked["target"])
    if not contexts and not behind:
        return _failed("env.py configured no database: nothing was migrated")
    try:
        _let_go(contexts)
        _look(asked, config, script, told, watch)
    except Exception:  # noqa: BLE001 - whatever an env.py raises that cannot be run twice: it is run in a new process
        _become("check", asked)
    return _committed(told)


def _check(asked: Told, told: Told) -> int:
    """Report as `ask` does, and fail when an upgrade has left anything to do."""
    _ask(asked, told)
    return _committed(told)


def _committed(told: Told) -> int:
    """Return 1 when there is still something to do after an upgrade: SQLAlchemy 2 rolls back what nobody commits."""
    left = [state for state in told["databases"] if state["pending"] and not state["unknown"]]
    if told.get("missing"):
        return _failed(f"env.py did not commit: there is no file {told['missing']}")
    if not told["databases"]:
        return _failed("env.py configured no database when it was asked what it had done")
    if left:
        rows, heads = (", ".join(sorted(left[0][name])) or "no revision" for name in ("rows", "heads"))
        return _failed(f"env.py did not commit: the database is still at {rows}, heads {heads}")
    return 0


def _let_go(contexts: list[MigrationContext]) -> None:
    """Let a second run see nothing of the first: not its open transaction, not connections of an event loop's end."""
    for context in contexts:
        if (connection := context.connection) is not None:
            is_async = connection.dialect.is_async
            if not is_async:
                connection.close()
            connection.engine.dispose(close=not is_async)
    contexts.clear()


def _look(asked: Told, config: alembic.config.Config, script: ScriptDirectory, told: Told, watch: Watch) -> None:
    """Run env.py without a step; tell each database's state, and which files it went by."""
    contexts: list[MigrationContext] = []

    def look(_rows: object, context: MigrationContext) -> list[object]:
        contexts.append(context)
        told["databases"].append(_state(context, script, asked["target"]))
        return []

    try:
        with watch:
            _run(config, script, look, dont_mutate=True)
    except NoFile as error:
        told["missing"] = str(error)
    with contextlib.suppress(Exception):  # a driver may mind that its loop is over; the process ends anyhow
        _let_go(contexts)
    told["opened"] = watch.opened({Path(each.path).parent for each in script.walk_revisions()})


def _run(config: alembic.config.Config, script: ScriptDirectory, function: Any, **options: Any) -> None:
    # As alembic.command does: env.py finds the configuration and the function in this context.
    with alembic.runtime.environment.EnvironmentContext(config, script, fn=function, **options):
        script.run_env()


def _unknown_found(unknown: list[str], policy: str) -> None:
    text = f"the database is at {', '.join(unknown)}, which this image does not know: it was migrated by a newer one"
    if policy != "start":
        raise UnknownRevision(f"{text}\ncure: start that image, or say --on-unknown-revision start")
    sys.stderr.write(f"{text}; started all the same (--on-unknown-revision start)\n")


def _state(context: MigrationContext, script: ScriptDirectory, target: str) -> Told:
    """Return one database's part of the report."""
    rows = context.get_current_heads()
    unknown = _unknown(rows, script)
    # Nothing between the rows and the target: what `upgrade` itself goes by, dependencies and branches included.
    pending = bool(unknown) or any(True for _ in script.iterate_revisions(target, rows, implicit_base=True))
    heads = sorted(revision.revision for revision in script.get_revisions(target))
    return {**_table(context), "rows": rows, "heads": heads, "unknown": unknown, "pending": pending}


def _table(context: MigrationContext) -> Told:
    connection = context.connection
    return {
        "url": connection.engine.url.render_as_string(hide_password=False) if connection is not None else "",
        "version_table": context.version_table,
        "version_table_schema": context.version_table_schema,
        "place": _place(connection),
        "whole": connection is None or is_whole(connection),
    }


def _place(connection: Connection | None) -> list[str] | None:
    """Return where this connection looks up its tables, or None when that cannot be said."""
    question = PLACES.get(connection.dialect.name) if connection is not None else None
    if connection is None or question is None:
        return None
    try:
        row = connection.exec_driver_sql(question).one()
    except Exception:  # noqa: BLE001 - every driver has its own, and without an answer env.py is asked next time too
        return None
    return [str(value) for value in row]


def _unknown(rows: tuple[str, ...], script: ScriptDirectory) -> list[str]:
    """Return the rows of the version table that no migration has; a shortened id is not one."""
    known = {revision.revision for revision in script.walk_revisions()}
    return sorted(set(rows) - known)


def _end(what: str, code: int) -> NoReturn:
    """End the process. A question leaves nothing to tidy up: taking SQLAlchemy apart costs 70 of its 340 ms."""
    if what == "ask" and code == 0:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _end(sys.argv[1], main(sys.argv[1], json.loads(sys.argv[2])))
