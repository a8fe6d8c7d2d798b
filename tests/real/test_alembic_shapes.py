"""Does the real command line bring projects of every shape up to date on a real PostgreSQL?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.sql import SQL, Identifier

from support.alembic_projects import ASYNC_ENV, INI, SYNC_ENV, alembic_project, migration, table_migrations
from support.alembic_starts import prestarted
from support.commands import error_of, toml

if TYPE_CHECKING:
    from support.launched import Launched
    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Launch

BOTH = pytest.mark.parametrize(
    ("env", "driver"), [(SYNC_ENV, "psycopg"), (ASYNC_ENV, "asyncpg")], ids=["sync", "async"]
)
TWO_HEADS = {"migrations/versions/x1.py": migration("x1", body="op.execute('CREATE TABLE x1 (x int)')")}
MIGRATE = 'name = "migrate"\nalembic = "alembic.ini"'
PLUS = "connection=connection, "


def versions(postgresql: PostgreSQL, database: str, table: str = "alembic_version") -> set[str]:
    """Return the rows of a version table."""
    with postgresql.connect(database) as connection:
        return {
            row[0]
            for row in connection.execute(SQL("SELECT version_num FROM {}").format(Identifier(*table.split("."))))
        }


def tables(postgresql: PostgreSQL, database: str) -> set[str]:
    """Return the tables that are there, with their schemas."""
    with postgresql.connect(database) as connection:
        found = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        return {f"{schema}.{table}" for schema, table in found}


def skipped(launched: Launched) -> list[str]:
    """Return the steps that had nothing to do."""
    return [one["step"] for one in launched.events if one["event"] == "launcher.step_skipped"]


@BOTH
def test_all_heads_are_the_default(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, env: str, driver: str
) -> None:
    """Two heads: both are reached, and the second start has nothing to do."""
    name = f"heads_{driver}"
    url = postgresql.url(name, driver)
    folder = project(alembic_project(env) | TWO_HEADS | {"launcher.toml": toml(MIGRATE)})
    first, second = (prestarted(launch, folder, url) for _ in range(2))

    assert [0, 0] == [first.popen.returncode, second.popen.returncode], first
    assert {"r2", "x1"} == versions(postgresql, name)
    assert ([], ["migrate"]) == (skipped(first), skipped(second))


def test_one_head_of_several_is_an_error_that_says_so(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL
) -> None:
    """`target = "head"` with two of them: nothing is migrated, and the text says what to write."""
    url = postgresql.url("one_head", "psycopg")
    files = alembic_project() | TWO_HEADS | {"launcher.toml": toml(f'{MIGRATE}\ntarget = "head"')}
    launched = prestarted(launch, project(files), url)

    assert 10 == launched.popen.returncode, launched
    assert "Multiple head revisions are present" in error_of(launched)
    assert "or 'heads' for all heads" in error_of(launched)
    assert set() == tables(postgresql, "one_head")


def test_one_branch_may_be_the_target(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """`label@head`: that branch only, with what it depends on, and nothing to do the next time."""
    url = postgresql.url("branches", "psycopg")
    labelled = migration("x1").replace("branch_labels = None", "branch_labels = ('jobs',)")
    files = alembic_project(count=3) | {
        "migrations/versions/x1.py": labelled,
        "migrations/versions/x2.py": migration("x2", "x1", depends_on="r2"),
        "launcher.toml": toml(f'{MIGRATE}\ntarget = "jobs@head"'),
    }
    folder = project(files)
    first, second = (prestarted(launch, folder, url) for _ in range(2))

    assert [0, 0] == [first.popen.returncode, second.popen.returncode], first
    assert ({"x2"}, ["migrate"]) == (versions(postgresql, "branches"), skipped(second))
    assert {"public.t1", "public.t2", "public.alembic_version"} == tables(postgresql, "branches")


def test_dependencies_across_branches_hold(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """All heads, by `heads`: a row that another one implies is gone, and the next start reads that from the files."""
    url = postgresql.url("depends", "psycopg")
    files = alembic_project() | {
        "migrations/versions/x1.py": migration("x1"),
        "migrations/versions/x2.py": migration("x2", "x1", depends_on="r1"),
        "migrations/versions/r3.py": migration("r3", "r2", depends_on="x1"),
        "migrations/versions/m1.py": migration("m1", ("r3", "x2")),
        "launcher.toml": toml(MIGRATE),
    }
    folder = project(files)
    first, second = (prestarted(launch, folder, url) for _ in range(2))

    assert [0, 0] == [first.popen.returncode, second.popen.returncode], first
    assert ({"m1"}, ["migrate"]) == (versions(postgresql, "depends"), skipped(second))


def test_several_projects_share_a_database(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """Two alembic.ini as named steps, each with a version table of its own; a new migration is one step's work."""
    url = postgresql.url("shared", "psycopg")
    jobs = SYNC_ENV.replace(PLUS[:-2], f'{PLUS}version_table="jobs_version"')
    jobs_migrations = {f"jobs/versions/j{n}.py": migration(f"j{n}", f"j{n - 1}" if n > 1 else None) for n in (1, 2)}
    late = jobs_migrations.pop("jobs/versions/j2.py")
    steps = ('name = "app"\nalembic = "alembic.ini"', 'name = "jobs"\nalembic = "jobs/alembic.ini"')
    files = (
        alembic_project()
        | jobs_migrations
        | {
            "jobs/alembic.ini": INI.replace("/migrations", ""),
            "jobs/env.py": jobs,
            "launcher.toml": toml(*steps),
        }
    )
    folder = project(files)
    first, second = (prestarted(launch, folder, url) for _ in range(2))
    (folder / "jobs/versions/j2.py").write_text(late)
    third = prestarted(launch, folder, url)

    assert [0, 0, 0] == [each.popen.returncode for each in (first, second, third)], third
    assert ([], ["app", "jobs"]) == (skipped(first), skipped(second))
    assert {"app"} == set(skipped(third))
    assert ({"r2"}, {"j2"}) == (versions(postgresql, "shared"), versions(postgresql, "shared", "jobs_version"))


@BOTH
def test_the_version_table_may_be_in_another_schema(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, env: str, driver: str
) -> None:
    """A table of the usual name in `public`, at head already, is not the one that counts."""
    name = f"schema_{driver}"
    url = postgresql.url(name, driver)
    with postgresql.connect(name) as connection:
        connection.execute("CREATE SCHEMA meta")
        connection.execute("CREATE TABLE alembic_version AS SELECT 'r2'::varchar AS version_num")
    options = f'{PLUS}version_table="versions", version_table_schema="meta"'
    folder = project(alembic_project(env.replace(PLUS[:-2], options)) | {"launcher.toml": toml(MIGRATE)})
    first, second = (prestarted(launch, folder, url) for _ in range(2))

    assert [0, 0] == [first.popen.returncode, second.popen.returncode], first
    assert ({"r2"}, ["migrate"]) == (versions(postgresql, name, "meta.versions"), skipped(second))
    assert "public.t2" in tables(postgresql, name)


@pytest.mark.parametrize(
    ("each", "left"), [(True, {"r2"}), (False, set())], ids=["transaction each", "one transaction"]
)
def test_what_was_committed_before_a_failure_is_not_repeated(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, *, each: bool, left: set[str]
) -> None:
    """With transaction_per_migration the good ones stay; without it nothing does. The next start goes on from there."""
    name = f"per_migration_{each}".lower()
    url = postgresql.url(name, "psycopg")
    files = alembic_project(SYNC_ENV.replace(PLUS[:-2], f"{PLUS}transaction_per_migration={each}"))
    folder = project(files | {"migrations/versions/r3.py": migration("r3", "r2", body="1 / 0")})
    broken = prestarted(launch, folder, url)
    before = versions(postgresql, name) if "public.alembic_version" in tables(postgresql, name) else set()
    (folder / "migrations/versions/r3.py").write_text(table_migrations(3)["migrations/versions/r3_x.py"])
    repaired = prestarted(launch, folder, url)

    assert (10, left) == (broken.popen.returncode, before), broken
    assert (0, {"r3"}) == (repaired.popen.returncode, versions(postgresql, name)), repaired
