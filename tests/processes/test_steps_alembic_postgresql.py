"""Does the Alembic step ask a real PostgreSQL, and keep its password to itself?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from launcher.steps.alembic import AlembicStep
from support.alembic_projects import ASYNC_ENV, SYNC_ENV, URL_OF_ENV, alembic_project, migration
from support.alembic_starts import Started
from support.step_context import settings

if TYPE_CHECKING:
    from support.postgresql import PostgreSQL
    from support.projects import MakeProject

PASSWORD = "s3cr t/ly"


@pytest.mark.parametrize(
    ("env", "drivers"),
    [(SYNC_ENV, ["psycopg", "psycopg2"]), (ASYNC_ENV, ["asyncpg", "psycopg"])],
    ids=["sync", "async"],
)
def test_postgresql_is_asked_by_one_question(
    project: MakeProject, postgresql: PostgreSQL, env: str, drivers: list[str]
) -> None:
    """Empty, upgraded and unknown, through each driver, by DATABASE_URL and as learnt."""
    folder = project(alembic_project(env))
    for driver in drivers:
        url = postgresql.url("steps", driver)
        start = Started(folder, {"DATABASE_URL": url})
        empty = start.due()
        status, said = start.upgrade()
        known = start.due()
        start.context.memory.clear()

        assert (True, []) == (empty[0], empty[2])
        assert 0 == status, said
        assert [(False, "the database is at r2", [])] * 2 == [known, start.due()]


def test_no_password_is_kept_or_shown(project: MakeProject, postgresql: PostgreSQL) -> None:
    """The variable's name is remembered; argv, memory and reasons are free of the password, in any spelling."""
    from urllib.parse import quote

    url = postgresql.url("secret").replace("postgres@", f"postgres:{quote(PASSWORD, safe='')}@")
    env = SYNC_ENV.replace('"DATABASE_URL"', '"APP_DB"').replace(
        'or context.config.get_main_option("sqlalchemy.url")', ""
    )
    start = Started(project(alembic_project(env)), {"APP_DB": url.replace("postgresql:", "postgresql+psycopg:")})
    before = start.due()
    status, said = start.upgrade()
    after = start.due()
    seen = json.dumps([before, said, after, start.context.memory, [command.argv for command in start.context.ran]])

    assert (0, (False, [])) == (status, (after[0], after[2])), said
    assert '"variable": "APP_DB"' in json.dumps(start.context.memory)
    assert not [spelling for spelling in (PASSWORD, quote(PASSWORD, safe=""), "s3cr") if spelling in seen]


def test_a_url_with_a_password_in_no_variable_is_not_kept(project: MakeProject, postgresql: PostgreSQL) -> None:
    """env.py is asked each time; nothing is written down."""
    host = f"127.0.0.1:{postgresql.port}"
    postgresql.url("unkept")
    env = SYNC_ENV.replace(URL_OF_ENV, f'"postgresql+psycopg://postgres:s3cret@{host}/unkept"')
    start = Started(project(alembic_project(env)))
    start.upgrade()
    step = AlembicStep(settings("alembic", "alembic.ini"))
    answers = [start.context.due(step).due, len(start.context.ran), start.context.due(step).due, len(start.context.ran)]

    assert {} == start.context.memory
    assert [False, 1, False, 0] == answers, "the same start asks env.py once"


def test_a_database_that_does_not_answer_is_doubtful(project: MakeProject, postgresql: PostgreSQL) -> None:
    """Not "at head" and not "behind": the upgrade itself will say it."""
    url = f"postgresql://postgres:s3cret@127.0.0.1:{postgresql.port}/nowhere_at_all"
    due, because, _ = Started(project(alembic_project()), {"DATABASE_URL": url}).due()

    assert due is None
    assert "nowhere_at_all" in because
    assert "s3cret" not in because


def test_a_search_path_of_the_role_is_seen_as_alembic_sees_it(project: MakeProject, postgresql: PostgreSQL) -> None:
    """A version table in another schema than the one the role works in does not count."""
    url = postgresql.url("schemas", "psycopg")
    start = Started(project(alembic_project()), {"DATABASE_URL": url})
    start.upgrade()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA fresh")
        connection.execute("ALTER DATABASE schemas SET search_path = fresh")

    assert (True, []) == (start.due()[0], start.due()[2])


@pytest.mark.parametrize("there", [(), ("r2",)], ids=["nothing there", "the same revision"])
def test_a_search_path_of_the_engine_is_never_overlooked(
    project: MakeProject, postgresql: PostgreSQL, there: tuple[str, ...]
) -> None:
    """A table at head in the schema of a plain connection is not the one that env.py migrates, whatever both say."""
    url = postgresql.url(f"tenants{len(there)}", "psycopg")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for schema, revisions in {"public": ("r2",), "tenant": there}.items():
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.execute(f"CREATE TABLE {schema}.alembic_version (version_num varchar(32))")
            for revision in revisions:
                insert = SQL("INSERT INTO {} VALUES (%s)").format(Identifier(schema, "alembic_version"))
                connection.execute(insert, [revision])
    app = (
        "import os\nfrom sqlalchemy import create_engine\n"
        "engine = create_engine(os.environ['APP_DB'], connect_args={'options': '-c search_path=tenant'})\n"
    )
    env = (
        "from alembic import context\nfrom app import engine\nwith engine.connect() as connection:\n"
        "    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n"
    )
    start = Started(project(alembic_project(env) | {"app.py": app}), {"APP_DB": url})
    answers = [start.due(), start.due()]

    assert [(not there, ["ask"])] * 2 == [(due, children) for due, _, children in answers]
    assert {} == start.context.memory


@pytest.mark.parametrize("env", [SYNC_ENV, ASYNC_ENV], ids=["sync", "async"])
def test_an_upgrade_that_nobody_commits_fails(project: MakeProject, postgresql: PostgreSQL, env: str) -> None:
    """env.py without begin_transaction() leaves a new database empty; it is not told as done."""
    url = postgresql.url("uncommitted_" + ("async" if env == ASYNC_ENV else "sync"), "psycopg")
    env = env.replace("with context.begin_transaction():", "if True:")
    start = Started(project(alembic_project(env)), {"DATABASE_URL": url})
    step = AlembicStep(settings("alembic", "alembic.ini"))
    before = start.context.due(step)
    status, said = start.upgrade()

    assert (True, True, f"postgresql://127.0.0.1:{postgresql.port}/") == (
        before.due,
        before.fresh,
        (step.database or "").rpartition("uncommitted")[0],
    )
    assert (1, True) == (status, "env.py did not commit: the database is still at no revision" in said), said


NAME = "asgi-launcher step 0a1b2c3d 42 host"
SEEN = "op.execute(\"CREATE TABLE seen AS SELECT current_setting('application_name') AS name\")"
IN_SETTINGS = ", connect_args={'server_settings': {'application_name': 'its own', 'jit': 'off'}}"
IN_ARGUMENTS = ", connect_args={'application_name': 'its own'}"


def name_of_upgrade(server: PostgreSQL, start: Started) -> str | None:
    """Return how the upgrade's session was called, which the second migration has written down."""
    status, said = start.upgrade()
    assert status == 0, said
    with server.connect("named") as connection:
        row = connection.execute("SELECT name FROM seen").fetchone()
    return row[0] if row else None


@pytest.mark.parametrize(
    ("driver", "query", "arguments"),
    [
        ("asyncpg", "", ""),
        ("asyncpg", "", ", connect_args={'server_settings': {'jit': 'off'}}"),
        ("asyncpg", "", IN_SETTINGS),
        ("psycopg", "", ""),
        ("psycopg", "?application_name=its%20own", ""),
        ("psycopg", "?options=-c%20application_name%3Dits%5C%20own", ""),
        ("psycopg", "", IN_ARGUMENTS),
        ("psycopg2", "?application_name=its%20own", ""),
        ("psycopg2", "", IN_ARGUMENTS),
    ],
)
def test_a_migration_carries_the_steps_name(
    project: MakeProject, postgresql: PostgreSQL, driver: str, query: str, arguments: str
) -> None:
    """PGAPPNAME, by which a takeover finds what the server still does: whatever the application calls its sessions."""
    url = postgresql.url("named", driver) + query
    env = (ASYNC_ENV if driver == "asyncpg" else SYNC_ENV).replace("NullPool)", f"NullPool{arguments})")
    env = env.replace("    url =", "    os.environ['PGAPPNAME'] = 'set by env.py'\n    url =", 1)
    files = alembic_project(env, count=1) | {"migrations/versions/r2.py": migration("r2", "r1", body=SEEN)}
    start = Started(project(files), {"DATABASE_URL": url, "PGAPPNAME": NAME})

    assert name_of_upgrade(postgresql, start) == NAME
    assert (False, []) == (start.due()[0], start.due()[2]), "its engine counts as one that its URL describes"


@pytest.mark.parametrize(("name", "seen"), [("of the shell", "its own"), (NAME, NAME)], ids=["a person's", "a step's"])
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_only_the_name_of_a_step_wins(
    project: MakeProject, postgresql: PostgreSQL, driver: str, name: str, seen: str
) -> None:
    """What somebody has put into PGAPPNAME is no matter of ours, and the application's own name stays."""
    env, own = (ASYNC_ENV, IN_SETTINGS) if driver == "asyncpg" else (SYNC_ENV, IN_ARGUMENTS)
    env = env.replace("NullPool)", f"NullPool{own})")
    files = alembic_project(env, count=1) | {"migrations/versions/r2.py": migration("r2", "r1", body=SEEN)}
    variables = {"DATABASE_URL": postgresql.url("named", driver), "PGAPPNAME": name}

    assert seen == name_of_upgrade(postgresql, Started(project(files), variables))


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_question_has_the_applications_own_name(project: MakeProject, postgresql: PostgreSQL, driver: str) -> None:
    """Only what changes something is waited for: env.py that is asked connects as it always does."""
    env, own = (ASYNC_ENV, IN_SETTINGS) if driver == "asyncpg" else (SYNC_ENV, IN_ARGUMENTS)
    env = env.replace("NullPool)", f"NullPool{own})").replace("DATABASE_URL", "APP_DB")
    env = env.replace(
        "context.configure(",
        "print(connection.exec_driver_sql('SHOW application_name').scalar(), file=open('asked', 'a'))\n"
        "        context.configure(",
    )
    folder = project(alembic_project(env))
    Started(folder, {"APP_DB": postgresql.url("named", driver), "PGAPPNAME": NAME}).due()

    assert (folder / "asked").read_text() == "its own\n"
