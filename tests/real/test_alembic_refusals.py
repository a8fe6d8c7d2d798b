"""What does a start do when the database is ahead of the image, or not there?"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from support.alembic_projects import ASYNC_ENV, SYNC_ENV, alembic_project
from support.alembic_starts import prestarted
from support.commands import error_of, toml
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Launch

BOTH = pytest.mark.parametrize(
    ("env", "driver"), [(SYNC_ENV, "psycopg"), (ASYNC_ENV, "asyncpg")], ids=["sync", "async"]
)


def revisions(postgresql: PostgreSQL, database: str) -> list[str]:
    """Return the rows of the version table, and look that the newest table is still there."""
    with postgresql.connect(database) as connection:
        connection.execute("SELECT count(*) FROM t3")
        return [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]


@BOTH
@pytest.mark.parametrize("learnt", [True, False], ids=["known", "not known"])
def test_after_a_rollback_the_old_image_is_refused_and_may_be_allowed(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, env: str, driver: str, *, learnt: bool
) -> None:
    """Exit code 10 with the revision and the cure; with `start` it goes on. Never is anything downgraded."""
    name = f"ahead_{driver}_{learnt}".lower()
    url = postgresql.url(name, driver)
    if not learnt:
        env = env.replace("with context.begin", "# version_table\n        with context.begin", 1)
    folder = project(alembic_project(env, count=3))
    new = prestarted(launch, folder, url)
    (folder / "migrations/versions/r3_x.py").unlink()
    refused = prestarted(launch, folder, url)
    allowed = prestarted(launch, folder, url, "--on-unknown-revision", "start")

    assert [0, 10, 0] == [each.popen.returncode for each in (new, refused, allowed)], refused
    assert "the database is at r3, which this image does not know" in error_of(refused)
    assert "--on-unknown-revision start" in error_of(refused)
    assert "r3" in str(allowed.event("launcher.step_skipped")), allowed
    assert ["r3"] == revisions(postgresql, name)


@BOTH
def test_a_database_that_is_down_is_a_dependency_that_is_down(
    launch: Launch, project: MakeProject, env: str, driver: str
) -> None:
    """Exit code 69 at once, with the driver's words and the cure; no server, and no password in the log."""
    url = f"postgresql+{driver}://postgres:s3cret@127.0.0.1:{free_port()}/down"
    started = time.monotonic()
    launched = prestarted(launch, project(alembic_project(env)), url)

    assert 69 == launched.popen.returncode, launched
    assert "wait-for" in error_of(launched)
    assert "s3cret" not in launched.stderr
    assert time.monotonic() - started < 25


def test_a_database_that_says_nothing_costs_the_steps_timeout(launch: Launch, project: MakeProject) -> None:
    """It takes the connection and never answers: the step is killed in time, exit code 10."""
    steps = toml('name = "migrate"\nalembic = "alembic.ini"\ntimeout = "2s"')
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{silent.getsockname()[1]}/silent"
        started = time.monotonic()
        launched = prestarted(launch, project(alembic_project() | {"launcher.toml": steps}), url)

    assert 10 == launched.popen.returncode, launched
    assert "did not end within its timeout" in error_of(launched)
    assert time.monotonic() - started < 40


@BOTH
def test_a_server_that_is_full_is_waited_for(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, env: str, driver: str
) -> None:
    """The migration finds no connection free: it tries again, and goes on as soon as there is one."""
    name = f"full_{driver}"
    url = postgresql.url(name, driver).replace("postgres@", f"{name}@")
    with postgresql.connect() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 1".encode())
        connection.execute(f"ALTER DATABASE {name} OWNER TO {name}".encode())
    with psycopg.connect(url.replace(f"+{driver}", "")):
        launched = launch("prestart", "--lock", "file", cwd=project(alembic_project(env)), env={"DATABASE_URL": url})
        until(lambda: "has no connection free" in launched.stderr, "the first refusal", 30)

    assert 0 == launched.wait(40), launched
