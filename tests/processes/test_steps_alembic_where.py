"""Does the Alembic step say which database it works on, and why it could not find out?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.steps.alembic import AlembicStep
from support.alembic_projects import ASYNC_ENV, ENGINE_OF_ENV, SYNC_ENV, URL_OF_ENV, alembic_project
from support.alembic_starts import Started, put_rows
from support.step_context import settings
from support.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgresql import PostgreSQL
    from support.projects import MakeProject

BOTH = pytest.mark.parametrize("env", [SYNC_ENV, ASYNC_ENV], ids=["sync", "async"])
REFUSED = """
import socket
try:
    socket.create_connection(("127.0.0.1", 1))
except OSError:
    raise SystemExit("no database") from None
"""
SECRET = "postgresql+psycopg://postgres:s3cret@127.0.0.1:{port}/{name}"


def asked(start: Started) -> AlembicStep:
    """Return a new step that has looked."""
    step = AlembicStep(settings("alembic", "alembic.ini"))
    start.context.due(step)
    return step


def failing(start: Started) -> tuple[bool | None, str]:
    """Return whether a database was out of reach, and the reason in one line."""
    failed = asked(start).asking_failed
    return (failed.unreachable, failed.text) if failed else (None, "")


@BOTH
def test_a_file_is_known_from_the_first_look_on(project: MakeProject, env: str) -> None:
    """Missing, asked of env.py, and as learnt: the same absolute URL; nothing before the first look."""
    folder = project(alembic_project(env))
    start = Started(folder)
    before = AlembicStep(settings("alembic", "alembic.ini")).database_url
    missing = asked(start).database_url
    start.upgrade()
    learnt = asked(start).database_url
    start.context.memory.clear()

    assert before is None
    assert f"sqlite:///{folder}/app.db" == missing
    driver = "+aiosqlite" if env == ASYNC_ENV else ""
    assert [f"sqlite{driver}:///{folder}/app.db"] * 2 == [learnt, asked(start).database_url]


def test_database_url_is_known_without_any_child(project: MakeProject, tmp_path: Path) -> None:
    """Also while its file is not there."""
    start = Started(project(alembic_project()), {"DATABASE_URL": f"sqlite:///{tmp_path}/data.db"})

    assert (f"sqlite:///{tmp_path}/data.db", []) == (asked(start).database_url, start.context.ran)


def test_of_several_databases_it_is_the_first(project: MakeProject) -> None:
    """In the order of env.py, whichever is behind."""
    env = """
        from alembic import context
        from sqlalchemy import create_engine
        for name in ("b", "a"):
            with create_engine(f"sqlite:///{name}.db").connect() as connection:
                context.configure(connection=connection)
                with context.begin_transaction():
                    context.run_migrations()
    """
    folder = project(alembic_project(env))
    for name in ("a", "b"):
        put_rows(folder / f"{name}.db", "r1")

    assert f"sqlite:///{folder}/b.db" == asked(Started(folder)).database_url


def test_the_url_has_its_password_and_nothing_else_has(project: MakeProject, postgresql: PostgreSQL) -> None:
    """It comes out of env.py whole; it is neither remembered, nor in a reason, nor in an argv."""
    postgresql.url("whole")
    url = SECRET.format(port=postgresql.port, name="whole")
    start = Started(project(alembic_project(SYNC_ENV.replace(URL_OF_ENV, repr(url)))))
    step = AlembicStep(settings("alembic", "alembic.ini"))
    answer = start.context.due(step)

    assert (url, True) == (step.database_url, step.url_is_whole)
    assert "s3cret" not in repr((answer, start.context.memory, [each.argv for each in start.context.ran]))


@pytest.mark.parametrize("how", ["creator", "do_connect"])
def test_an_engine_that_connects_in_its_own_way_is_told(project: MakeProject, postgresql: PostgreSQL, how: str) -> None:
    """What its URL says may lead nowhere: said, and never learnt."""
    real = postgresql.url(f"own_{how}")
    made = f"lambda *_: psycopg.connect({real!r})"
    arguments = f"creator={made}, " if how == "creator" else ""
    listener = "" if how == "creator" else f"event.listen(engine, 'do_connect', {made})"
    engine = f"create_engine('postgresql+psycopg://', {arguments}poolclass=pool.NullPool)\n    {listener}"
    env = SYNC_ENV.replace("import os", "import psycopg\n    from sqlalchemy import event").replace(
        f"url = {URL_OF_ENV}", ""
    )
    start = Started(project(alembic_project(env.replace(ENGINE_OF_ENV, engine))), {"DATABASE_URL": real})
    step = asked(start)

    assert ("postgresql+psycopg://", False, {}) == (step.database_url, step.url_is_whole, start.context.memory)


@BOTH
def test_a_database_out_of_reach_is_no_mistake_of_env_py(project: MakeProject, env: str) -> None:
    """Nobody listens: told from a bug, in one line, with the output and without the password."""
    driver = "asyncpg" if env == ASYNC_ENV else "psycopg"
    url = SECRET.format(port=free_port(), name="none").replace("psycopg", driver)
    start = Started(project(alembic_project(env.replace("DATABASE_URL", "APP_DB"))), {"APP_DB": url})
    failed = asked(start).asking_failed

    assert failed is not None
    assert (True, True, True) == (failed.unreachable, "onnect" in failed.text, "Traceback" in failed.tail), failed
    assert "\n" not in failed.text
    assert "s3cret" not in repr(failed)


@BOTH
def test_a_database_that_is_not_there_yet_is_out_of_reach(
    project: MakeProject, postgresql: PostgreSQL, env: str
) -> None:
    """The server answers, the database will be created later."""
    driver = "asyncpg" if env == ASYNC_ENV else "psycopg2"
    url = SECRET.format(port=postgresql.port, name="later_on").replace("psycopg", driver)
    unreachable, text = failing(
        Started(project(alembic_project(env.replace("DATABASE_URL", "APP_DB"))), {"APP_DB": url})
    )

    assert (True, True) == (unreachable, "later_on" in text), text


@pytest.mark.parametrize(
    ("code", "unreachable", "words"),
    [
        ("import nowhere_at_all", False, "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise RuntimeError('no settings')", False, "RuntimeError: no settings"),
        ("open('gone.json')", False, "FileNotFoundError: [Errno 2] No such file or directory: 'gone.json'"),
        ("import sys; sys.exit(3)", False, "env.py ended the process by itself: sys.exit(3)"),
        # Not os._exit, which coverage replaces: it writes its data, a SQLite file, while env.py is watched for such.
        ("import ctypes; ctypes.CDLL(None)._exit(0)", False, "env.py ended the process"),
        ("import os", False, "env.py configured no database"),
        ("raise TimeoutError('pool')", True, "TimeoutError: pool"),
        (REFUSED, True, "env.py ended the process by itself: sys.exit('no database')"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(project: MakeProject, code: str, unreachable: object, words: str) -> None:
    """An import, an exception, an exit; a socket that was refused also behind env.py's own words."""
    assert (unreachable, words) == failing(Started(project(alembic_project(f"{code}\n"))))


def test_a_failure_is_forgotten_when_it_can_be_asked(project: MakeProject) -> None:
    """The next look of the same step starts anew."""
    folder = project(alembic_project())
    start = Started(folder)
    (folder / "migrations/env.py").rename(folder / "migrations/away")
    step = asked(start)
    before = step.asking_failed
    (folder / "migrations/away").rename(folder / "migrations/env.py")
    start.context.due(step)

    assert before is not None
    assert step.asking_failed is None
