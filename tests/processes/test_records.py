"""For what does a record of `done` count?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.errors import ExitCode
from support.alembic_projects import INI, SYNC_ENV, table_migrations
from support.commands import APPENDS, times, toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.projects import MakeProject
    from support.spawning import Launch

SEED = 'name = "seed"\nrun = ["{python}", "append.py"]'
MIGRATE = 'alembic = "alembic.ini"'


def migrated(project: MakeProject, *steps: str) -> Path:
    """Return a project with one migration, these steps and a script that leaves a sign each time it runs."""
    return project(
        {
            "alembic.ini": INI,
            "migrations/env.py": SYNC_ENV,
            "append.py": APPENDS,
            "launcher.toml": toml(*steps),
            **table_migrations(1),
        }
    )


def prepared(launch: Launch, folder: Path, env: Mapping[str, str | None] | None = None) -> list[str]:
    """Run the steps; return the names of those that ran."""
    ended = launch("prestart", "--release", "r1", cwd=folder, env=env or {})

    assert ended.wait() == ExitCode.OK
    return [event["step"] for event in ended.events if event["event"] == "launcher.step_done"]


def test_a_new_database_is_seeded_again(launch: Launch, project: MakeProject) -> None:
    """When the database file is gone, what was done once for the release is done for the new one too."""
    folder = migrated(project, MIGRATE, SEED)
    first, second = prepared(launch, folder), prepared(launch, folder)
    (folder / "app.db").unlink()
    third = prepared(launch, folder)

    assert [["alembic", "seed"], [], ["alembic", "seed"]] == [first, second, third]


def test_each_database_has_its_own_records(launch: Launch, project: MakeProject) -> None:
    """The same checkout with another DATABASE_URL is another database, and back again is the first."""
    folder = migrated(project, MIGRATE, SEED)
    runs = [prepared(launch, folder, {"DATABASE_URL": f"sqlite:///{name}.db"}) for name in ("a", "b", "a")]

    assert [["alembic", "seed"], ["alembic", "seed"], []] == runs


def test_a_step_above_an_unnamed_one_changes_nothing(launch: Launch, project: MakeProject) -> None:
    """An unnamed step goes by what it does: inserted above another, it runs and the other does not run again."""
    first = 'run = "echo x >> countries"\nonce_per = "database"'
    second = 'run = "echo x >> roles"\nonce_per = "database"'
    folder = project({"launcher.toml": toml(first)})
    prepared(launch, folder)
    (folder / "launcher.toml").write_text(toml(second, first))
    prepared(launch, folder)

    assert ["x\n", "x\n"] == [(folder / name).read_text() for name in ("countries", "roles")]


def test_a_changed_command_of_a_named_step_is_still_done(launch: Launch, project: MakeProject) -> None:
    """A step with a name keeps its record, whatever its command becomes."""
    folder = migrated(project, SEED.replace('"seed"', '"seed"\nonce_per = "database"'))
    prepared(launch, folder)
    text = (folder / "launcher.toml").read_text()
    (folder / "launcher.toml").write_text(text.replace('"append.py"', '"append.py", "other"'))
    prepared(launch, folder)

    assert [1, 0] == [times(folder), times(folder, "other")]


def test_migrations_beside_the_application_are_spoken_of(launch: Launch, project: MakeProject) -> None:
    """Started from another folder, the launcher says that the migrations beside the application are not run."""
    folder = migrated(project)
    (folder / "main.py").write_text("async def app(scope, receive, send): ...\n")
    (folder / "launcher.toml").unlink()
    (folder / "sub").mkdir()
    ended = launch("run", "../main.py", "--port", "0", "--server", "nothing", cwd=folder / "sub")
    plan = launch("plan", "../main.py", "--json", cwd=folder / "sub")

    assert (ended.wait(), plan.wait()) == (ExitCode.USAGE, ExitCode.OK)
    assert f"{folder / 'alembic.ini'} is not run" in plan.stdout


def test_what_a_step_exports_too_late_is_said(launch: Launch, project: MakeProject) -> None:
    """PORT, exported by a pre-start script, no longer moves the launcher's address: that is said."""
    folder = project({"pre.sh": "export PORT=9 OTHER=1\n", "main.py": "async def app(scope, receive, send): ...\n"})
    ended = launch("prestart", cwd=folder, env={"PRE_START_PATH": "pre.sh"})

    assert ended.wait() == ExitCode.OK
    assert ["PORT"] == [event["name"] for event in ended.events if event["event"] == "launcher.setting_ignored"]


def test_an_env_py_that_vanishes_is_no_success(launch: Launch, project: MakeProject) -> None:
    """An env.py that ends its process with code 0 behind everybody's back has migrated nothing: exit code 10."""
    folder = migrated(project, MIGRATE)
    (folder / "migrations/env.py").write_text("import os\nos._exit(0)\n")
    ended = launch("prestart", "--lock", "file", cwd=folder)

    assert ended.wait() == ExitCode.STEP_FAILED
    assert "without saying what it has done" in ended.stderr


def test_a_step_of_a_step_has_its_own_name_and_token(launch: Launch, project: MakeProject) -> None:
    """A launcher that is itself a step tells its own steps their names and tokens, not the outer ones."""
    folder = project({"launcher.toml": toml('name = "inner"\nrun = "echo $LAUNCHER_STEP_NAME $LAUNCHER_STEP_TOKEN"')})
    outer = {"LAUNCHER_STEP_NAME": "outer", "LAUNCHER_STEP_TOKEN": "99", "LAUNCHER_STEP_ATTEMPT": "7"}
    ended = launch("prestart", cwd=folder, env=outer)

    assert ended.wait() == ExitCode.OK
    assert ["inner 1"] == [event["line"] for event in ended.events if event["event"] == "launcher.step_output"]
