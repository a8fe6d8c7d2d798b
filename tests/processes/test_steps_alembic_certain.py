"""Does the Alembic step never call a database migrated that is not?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from launcher.steps.alembic import AlembicStep
from support.alembic_projects import ASYNC_ENV, SYNC_ENV, URL_OF_ENV, alembic_project
from support.alembic_starts import Started, put_rows, rows
from support.step_context import settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject

BOTH = pytest.mark.parametrize("env", [SYNC_ENV, ASYNC_ENV], ids=["sync", "async"])
JSON_ENV = SYNC_ENV.replace("import os", "import json, pathlib").replace(
    URL_OF_ENV, "json.loads(pathlib.Path('{path}').read_text())['url']"
)


def uncommitted(env: str) -> str:
    """Return an env.py that forgets the transaction, where DDL has one (with SQLite Alembic commits by itself)."""
    options = "connection=connection, transactional_ddl=True"
    return env.replace("with context.begin_transaction():", "if True:").replace("connection=connection", options)


@BOTH
def test_an_upgrade_that_nobody_commits_fails(project: MakeProject, env: str) -> None:
    """SQLAlchemy 2 rolls it back: it is looked at once more, and said."""
    start = Started(project(alembic_project(uncommitted(env))))
    status, said = start.upgrade()

    assert (1, True) == (status, "env.py did not commit: the database is still at no revision, heads r2" in said), said
    assert {} == start.context.memory


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ("import os\n", "env.py configured no database"),
        ("import sys\nsys.exit(0)\n", "sys.exit(0)"),
        ("import sys\nsys.exit(65)\n", "sys.exit(65)"),
    ],
    ids=["nothing", "exit 0", "exit like an unknown revision"],
)
def test_an_env_py_that_migrates_nothing_fails(project: MakeProject, env: str, sentence: str) -> None:
    """Exit code 0 would mean that the schema is there."""
    start = Started(project(alembic_project(env)))
    status, said = start.upgrade()

    assert (1, True) == (status, sentence in said), said
    assert start.due()[0] is None


@pytest.mark.parametrize("commits", [True, False])
def test_an_env_py_that_cannot_run_twice_is_checked_in_a_new_process(project: MakeProject, commits: object) -> None:
    """It is no failure of the upgrade, and no way around the look after it."""
    once = "import app\n    app.registered.remove(1)\n    import os"
    env = (SYNC_ENV if commits else uncommitted(SYNC_ENV)).replace("import os", once, 1)
    start = Started(project(alembic_project(env) | {"app.py": "registered = {1}\n"}))
    status, said = start.upgrade()
    due, _, children = start.due()

    assert (0 if commits else 1, not commits) == (status, "did not commit" in said), said
    assert (not commits, [] if commits else ["ask"]) == (due, children)


def test_an_async_engine_of_the_application_serves_both_runs(project: MakeProject) -> None:
    """Its pool may hold connections of the first run's event loop."""
    app = """
        from sqlalchemy.ext.asyncio import create_async_engine
        engine = create_async_engine("sqlite+aiosqlite:///app.db")
    """
    env = ASYNC_ENV.replace("engine = create_async_engine(url, poolclass=pool.NullPool)", "from app import engine")
    folder = project(alembic_project(env.replace("await engine.dispose()", "pass")) | {"app.py": app})
    status, said = Started(folder).upgrade()

    assert (0, {"r2"}) == (status, rows(folder / "app.db")), said


@pytest.mark.parametrize("place", ["config.json", "../outside.json"])
def test_what_was_learnt_does_not_outlive_env_pys_own_configuration(project: MakeProject, place: str) -> None:
    """A file that env.py reads, in the project or elsewhere, names another database: env.py is asked."""
    folder = project(alembic_project(JSON_ENV.format(path=place)))
    (folder / place).write_text('{"url": "sqlite:///app.db"}')
    start = Started(folder)
    start.upgrade()
    known = start.due()
    (folder / place).write_text('{"url": "sqlite:///other.db"}')
    changed = start.due()

    assert ((False, []), (True, ["ask"])) == ((known[0], known[2]), (changed[0], changed[2]))


def test_a_configuration_that_was_not_there_counts_as_well(project: MakeProject) -> None:
    """env.py looked for it in vain; now it is there."""
    url = "open('url.txt').read()\n    except OSError:\n        url = 'sqlite:///app.db'"
    folder = project(alembic_project(SYNC_ENV.replace(f"url = {URL_OF_ENV}", f"try:\n        url = {url}")))
    start = Started(folder)
    start.upgrade()
    known = start.due()
    (folder / "url.txt").write_text("sqlite:///other.db")
    changed = start.due()

    assert ((False, []), (True, ["ask"])) == ((known[0], known[2]), (changed[0], changed[2]))


def test_what_was_learnt_does_not_outlive_an_installation(
    project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application may be one of the installed packages."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    start = Started(project(alembic_project()))
    start.upgrade()
    known = start.due()
    (packages / "app").mkdir()

    assert ([], ["ask"]) == (known[2], start.due()[2])


@pytest.mark.parametrize("first", ["DATABASE_URL", "missing", "learnt"])
def test_what_a_step_exports_between_two_looks_counts(project: MakeProject, tmp_path: Path, first: str) -> None:
    """The second look is at the database that is named now."""
    env = (
        SYNC_ENV
        if first == "DATABASE_URL"
        else SYNC_ENV.replace("import os", "from os import environ, path; import os")
    )
    env = (
        env
        if first == "DATABASE_URL"
        else env.replace('os.environ.get("DATABASE_URL")', "environ.get('DATABASE' + '_URL')")
    )
    start = Started(project(alembic_project(env)), {"DATABASE_URL": f"sqlite:///{tmp_path}/one.db"})
    put_rows(tmp_path / "two.db", "r2")
    if first != "missing":
        put_rows(tmp_path / "one.db", "r1")
    step = AlembicStep(settings("alembic", "alembic.ini"))
    before = (start.context.due(step).due, step.database)
    start.context.environ = {**start.context.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/two.db"}
    after = (start.context.due(step).due, step.database)

    assert (True, f"sqlite:{tmp_path}/one.db") == before
    assert (False, f"sqlite:{tmp_path}/two.db") == after


def test_a_file_that_a_step_writes_between_two_looks_counts(project: MakeProject) -> None:
    """Nothing that was known before is believed after a change."""
    folder = project(alembic_project(JSON_ENV.format(path="config.json")) | {"config.json": '{"url":"sqlite:///a.db"}'})
    put_rows(folder / "a.db", "r2")
    put_rows(folder / "b.db", "r1")
    context = Started(folder).context
    step = AlembicStep(settings("alembic", "alembic.ini"))
    before = (context.due(step).due, step.database)
    (folder / "config.json").write_text('{"url":"sqlite:///b.db"}')
    after = (context.due(step).due, step.database)

    assert ((False, f"sqlite:{folder}/a.db"), (True, f"sqlite:{folder}/b.db")) == (before, after)


@pytest.mark.parametrize("variables", [{}, {"DATABASE_URL": "sqlite:///app.db"}], ids=["env.py", "DATABASE_URL"])
def test_a_new_database_is_called_fresh(project: MakeProject, variables: dict[str, str]) -> None:
    """No file and no rows, but not one that is behind."""
    folder = project(alembic_project())
    context = Started(folder, variables).context
    answers = []
    for revisions in (None, (), ("r1",), ("r2",)):
        if revisions is not None:
            put_rows(folder / "app.db", *revisions)
        answers.append(context.due(AlembicStep(settings("alembic", "alembic.ini"))))

    assert [(True, True), (True, True), (True, False), (False, False)] == [(one.due, one.fresh) for one in answers]
