"""Does the Alembic step know where to ask, and never more than it knows?"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import pytest

from launcher.steps.alembic import AlembicStep
from support.alembic_projects import ASYNC_ENV, INI, SYNC_ENV, URL_OF_ENV, alembic_project, migration
from support.alembic_starts import Started, put_rows, rows
from support.step_context import settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject

BOTH = pytest.mark.parametrize("env", [SYNC_ENV, ASYNC_ENV], ids=["sync", "async"])


@BOTH
def test_without_a_known_url_env_py_is_asked_and_the_next_start_knows(project: MakeProject, env: str) -> None:
    """Empty, half, at head; then the same answer without any child."""
    folder = project(alembic_project(env))
    start = Started(folder)
    empty = start.due()
    created = (folder / "app.db").exists()
    start.context.carry_out(AlembicStep(settings("alembic", "alembic.ini", target="r1")))
    start.context.memory.clear()
    half = start.due()
    upgraded = start.upgrade()
    start.context.memory.clear()
    full = start.due()
    again = start.due()

    assert (True, ["ask"]) == (empty[0], empty[2])
    assert not created, "asking must not leave an empty file"
    assert (True, "database at r1, heads r2", ["ask"]) == half
    assert (0, {"r2"}) == (upgraded[0], rows(folder / "app.db"))
    assert (False, "the database is at r2", ["ask"]) == full
    assert (False, "the database is at r2", []) == again


@BOTH
def test_the_upgrade_itself_teaches_the_next_start(project: MakeProject, env: str) -> None:
    """After the first start no child is needed, and what is remembered is no secret."""
    start = Started(project(alembic_project(env)))
    start.upgrade()

    assert (False, "the database is at r2", []) == start.due()


@BOTH
def test_database_url_is_asked_without_any_child(project: MakeProject, tmp_path: Path, env: str) -> None:
    """Empty, half and at head, by one question each."""
    driver = "+aiosqlite" if env == ASYNC_ENV else ""
    start = Started(project(alembic_project(env)), {"DATABASE_URL": f"sqlite{driver}:///{tmp_path}/data.db"})
    answers = [start.due()]
    created = (tmp_path / "data.db").exists()
    put_rows(tmp_path / "data.db", "r1")
    answers.append(start.due())
    put_rows(tmp_path / "data.db", "r2")
    answers.append(start.due())

    assert [(True, []), (True, []), (False, [])] == [(due, children) for due, _, children in answers]
    assert not created


def test_database_url_counts_only_where_it_is_named(project: MakeProject, tmp_path: Path) -> None:
    """A project that never reads DATABASE_URL may have another database: env.py is asked."""
    env = SYNC_ENV.replace('os.environ.get("DATABASE_URL") or ', "")
    folder = project(alembic_project(env))
    put_rows(tmp_path / "other.db", "r2")
    due, _, children = Started(folder, {"DATABASE_URL": f"sqlite:///{tmp_path}/other.db"}).due()

    assert (True, ["ask"]) == (due, children)


def test_database_url_named_elsewhere_in_the_application_is_not_believed(project: MakeProject, tmp_path: Path) -> None:
    """A settings module may read it and env.py go by another: env.py is asked once, and then it is known."""
    env = SYNC_ENV.replace(URL_OF_ENV, "config.url").replace("import os", "from app import config")
    settings_of_app = "import os\nos.environ['DATABASE_URL']\nurl = 'sqlite:///app.db'\n"
    put_rows(tmp_path / "other.db", "r2")
    files = alembic_project(env) | {"app/config.py": settings_of_app}
    start = Started(project(files), {"DATABASE_URL": f"sqlite:///{tmp_path}/other.db"})
    before = start.due()
    start.upgrade()
    after = start.due()

    assert ((True, ["ask"]), (False, [])) == ((before[0], before[2]), (after[0], after[2]))


@pytest.mark.parametrize(
    "line",
    ["from app import engine", "from app import get_engine as made", "import app; made = app.engine"],
    ids=["engine", "made", "attribute"],
)
def test_an_engine_from_elsewhere_is_asked(project: MakeProject, tmp_path: Path, line: str) -> None:
    """env.py names DATABASE_URL and takes its engine from a module: that one may be another database's."""
    env = f"{line}\n" + textwrap.dedent(SYNC_ENV).replace("engine.connect()", "app.engine.connect()")
    app = "from sqlalchemy import create_engine\nengine = create_engine('sqlite:///app.db')\nget_engine = None\n"
    put_rows(tmp_path / "other.db", "r2")
    env = "import app\n" + env
    start = Started(project(alembic_project(env) | {"app.py": app}), {"DATABASE_URL": f"sqlite:///{tmp_path}/other.db"})
    due, _, children = start.due()

    assert (True, ["ask"]) == (due, children)


@pytest.mark.parametrize(
    "env",
    [
        SYNC_ENV.replace("connection=connection", 'connection=connection, version_table="versions_of_app"'),
        SYNC_ENV.replace("connection=connection", 'connection=connection, version_table_schema="main"'),
        SYNC_ENV.replace("with context.begin", "# sets the search_path of a tenant\n        with context.begin"),
    ],
    ids=["table", "schema", "search path"],
)
def test_an_unusual_env_py_is_asked_itself(project: MakeProject, tmp_path: Path, env: str) -> None:
    """Another table than alembic_version is learnt from env.py, never guessed: a stale one beside it does not count."""
    path = tmp_path / "data.db"
    start = Started(project(alembic_project(env)), {"DATABASE_URL": f"sqlite:///{path}"})
    put_rows(path, *([] if "search_path" in env or "schema" in env else ["r2"]))
    before = start.due()
    start.upgrade()
    after = start.due()

    assert (True, ["ask"]) == (before[0], before[2])
    assert (False, []) == (after[0], after[2])


@pytest.mark.parametrize(
    "env",
    [
        SYNC_ENV.replace("connection=connection", "connection=connection, **{}"),
        SYNC_ENV.replace("with context.begin", "for _ in (1,):\n            pass\n        with context.begin"),
        "import helper\n# DATABASE_URL\nhelper.main()\n",
    ],
    ids=["arguments from elsewhere", "a loop", "configured elsewhere"],
)
def test_an_env_py_that_does_not_show_what_it_does_is_asked_once(project: MakeProject, env: str) -> None:
    """DATABASE_URL alone is not believed there; after the first answer it is known."""
    helper = SYNC_ENV.replace("    url =", "    def main(): pass\n    url =", 1)
    folder = project(alembic_project(env) | {"helper.py": helper})
    put_rows(folder / "app.db", "r2")
    start = Started(folder, {"DATABASE_URL": "sqlite:///app.db"})

    assert [(False, ["ask"]), (False, [])] == [(due, children) for due, _, children in (start.due(), start.due())]


def test_a_second_database_url_makes_it_doubtful(project: MakeProject, tmp_path: Path) -> None:
    """With another variable that names another database, env.py says which one it migrates."""
    env = SYNC_ENV.replace('"DATABASE_URL"', '"MIGRATIONS_URL"') + "\n    # not DATABASE_URL, which is read-only\n"
    variables = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("DATABASE_URL", "MIGRATIONS_URL")}
    put_rows(tmp_path / "DATABASE_URL.db", "r2")
    start = Started(project(alembic_project(env)), variables)
    before = start.due()
    start.upgrade()
    after = start.due()

    assert (True, ["ask"]) == (before[0], before[2])
    assert (False, []) == (after[0], after[2])
    assert "MIGRATIONS_URL" in json.dumps(start.context.memory)


@pytest.mark.parametrize(
    "change",
    [
        {"migrations/versions/r3_x.py": migration("r3", "r2")},
        {"settings.py": "DATABASE = 'elsewhere'"},
        {".env": "DATABASE=elsewhere"},
        {"alembic.ini": INI.replace("    ", "").strip() + "\n# changed\n"},
    ],
    ids=["migration", "source", "dotenv", "ini"],
)
def test_what_was_learnt_does_not_outlive_a_change(project: MakeProject, change: dict[str, str]) -> None:
    """Whatever env.py may depend on has changed: it is asked again."""
    folder = project(alembic_project())
    start = Started(folder)
    start.upgrade()
    for name, text in change.items():
        (folder / name).write_text(text)

    assert ["ask"] == start.due()[2]


def test_what_was_learnt_does_not_outlive_another_environment(project: MakeProject) -> None:
    """A variable changed; but not the ones that differ at each start anyway."""
    start = Started(project(alembic_project()))
    start.upgrade()
    start.context.environ = {**start.context.environ, "PORT": "81", "HOSTNAME": "b", "LISTEN_FDS": "1"}
    same = start.due()
    start.context.environ = {**start.context.environ, "STAGE": "production"}
    other = start.due()

    assert ([], ["ask"]) == (same[2], other[2])


def test_a_database_that_was_reset_is_noticed(project: MakeProject) -> None:
    """What was learnt is where to ask, never the answer."""
    folder = project(alembic_project())
    start = Started(folder)
    start.upgrade()
    put_rows(folder / "app.db", "r1")
    half = start.due()
    (folder / "app.db").unlink()
    gone = start.due()

    assert (True, "database at r1, heads r2", []) == half
    assert (True, []) == (gone[0], gone[2])
