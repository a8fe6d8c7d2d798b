"""What does the process of an Alembic step do?

`python -P -m launcher.steps.alembic_child ask|upgrade JSON`. Both run the project's env.py online, the way `alembic
current` and `alembic upgrade` do; `ask` makes no step and changes nothing. Which databases env.py opened is answered as
JSON on the report descriptor and nowhere else: their URLs are complete.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

gc.disable()  # importing Alembic and SQLAlchemy leaves no garbage to look for: 25 of 320 ms
# Before sys.path is extended below: a project's own folder `alembic` must not take its place.
import alembic.config
import alembic.runtime.environment
import alembic.script
import alembic.util

from launcher.steps.alembic_codes import UNKNOWN_REVISION

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

Told = dict[str, Any]


class UnknownRevision(BaseException):
    """The database is at revisions that no migration of this image has. Not for an `except Exception` in env.py."""


class NoFile(BaseException):
    """env.py is about to create an empty SQLite file, only to be asked what is in it."""


def main(what: str, asked: Told) -> int:
    """Do it, report, and return the exit code."""
    told: Told = {"databases": []}
    if what == "upgrade":  # a migration may move data, and then there is garbage; a question is over at once
        gc.enable()
    try:
        code = _upgrade(asked, told) if what == "upgrade" else _ask(asked, told)
    except alembic.util.CommandError as error:
        sys.stderr.write(f"FAILED: {error}\n")
        return 1
    except UnknownRevision as error:
        sys.stderr.write(f"{error}\n")
        return UNKNOWN_REVISION
    descriptor = os.environ.get("LAUNCHER_STEP_REPORT_FD")
    if descriptor is not None:
        with os.fdopen(int(descriptor), "wb") as report:
            report.write(json.dumps(told).encode())
    return code


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
    config, script = _configured(asked)

    def look(_rows: object, context: MigrationContext) -> list[object]:
        told["databases"].append(_state(context, script, asked["target"]))
        return []

    asking = True

    def no_new_file(event: str, arguments: tuple[Any, ...]) -> None:
        """Stop `sqlite3.connect` before it creates a file (audit events: PEP 578); a hook cannot be removed."""
        if asking and event == "sqlite3.connect":
            _check_is_there(arguments[0])

    sys.addaudithook(no_new_file)
    try:
        _run(config, script, look, dont_mutate=True)
    except NoFile as error:
        told["missing"] = str(error)
    finally:
        asking = False
    return 0


def _upgrade(asked: Told, told: Told) -> int:
    config, script = _configured(asked)
    target = asked["target"]
    contexts: list[MigrationContext] = []

    def steps(rows: Any, context: MigrationContext) -> list[Any]:
        unknown = _unknown(context.get_current_heads(), script)
        if unknown:
            _unknown_found(unknown, asked["on_unknown_revision"])
            return []
        contexts.append(context)
        # What alembic.command.upgrade hands over at this place; it has no way in for the look before it.
        return script._upgrade_revs(target, rows)  # noqa: SLF001 - see above

    _run(config, script, steps, destination_rev=target)
    heads = _heads(script, target)
    told["databases"] = [{**_table(context), "rows": heads} for context in contexts]
    return 0


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
    heads = _heads(script, target)
    return {**_table(context), "rows": rows, "heads": heads, "unknown": unknown, "pending": pending}


def _table(context: MigrationContext) -> Told:
    connection = context.connection
    return {
        "url": connection.engine.url.render_as_string(hide_password=False) if connection is not None else "",
        "version_table": context.version_table,
        "version_table_schema": context.version_table_schema,
    }


def _heads(script: ScriptDirectory, target: str) -> list[str]:
    return sorted(revision.revision for revision in script.get_revisions(target))


def _unknown(rows: tuple[str, ...], script: ScriptDirectory) -> list[str]:
    """Return the rows of the version table that no migration has; a shortened id is not one."""
    known = {revision.revision for revision in script.walk_revisions()}
    return sorted(set(rows) - known)


def _check_is_there(database: object) -> None:
    path = os.fsdecode(database) if isinstance(database, str | bytes | os.PathLike) else ""
    if path and path != ":memory:" and not path.startswith("file:") and not Path(path).exists():
        raise NoFile(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
