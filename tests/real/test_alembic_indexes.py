"""Do migrations that build indexes concurrently work, and is a broken index noticed?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.alembic_projects import ASYNC_ENV, SYNC_ENV, alembic_project, migration
from support.alembic_starts import prestarted

if TYPE_CHECKING:
    from support.launched import Launched
    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Launch

CONCURRENTLY = (
    "with op.get_context().autocommit_block():\n"
    "        op.create_index('t1_x', 't1', ['x'], unique=True, postgresql_concurrently=True, if_not_exists=True)"
)
FILES = {"migrations/versions/r2_x.py": migration("r2", "r1", body=CONCURRENTLY)}


def indexes(postgresql: PostgreSQL, database: str) -> dict[str, bool]:
    """Return whether each index of the application's table is valid."""
    with postgresql.connect(database) as connection:
        found = connection.execute(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indrelid = 't1'::regclass"
        )
        return dict(found.fetchall())


def execute(postgresql: PostgreSQL, database: str, *statements: bytes) -> None:
    """Do something behind the application's back."""
    with postgresql.connect(database) as connection:
        for statement in statements:
            connection.execute(statement)


def warned(launched: Launched) -> list[dict[str, Any]]:
    """Return what was said of invalid indexes."""
    return [one for one in launched.events if one["event"] == "launcher.index_invalid"]


@pytest.mark.parametrize("per_migration", [True, False])
@pytest.mark.parametrize(("env", "driver"), [(SYNC_ENV, "psycopg"), (ASYNC_ENV, "asyncpg")], ids=["sync", "async"])
def test_an_index_is_built_concurrently(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, env: str, driver: str, *, per_migration: bool
) -> None:
    """`autocommit_block()`, with and without a transaction for each migration; a good index is not spoken of."""
    name = f"concurrently_{driver}_{per_migration}".lower()
    url = postgresql.url(name, driver)
    env = env.replace("connection=connection", f"connection=connection, transaction_per_migration={per_migration}")
    launched = prestarted(launch, project(alembic_project(env) | FILES), url)

    assert 0 == launched.popen.returncode, launched
    assert ({"t1_x": True}, []) == (indexes(postgresql, name), warned(launched))


def test_an_invalid_index_is_reported(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """The build fails and leaves it; run again, the migration skips what exists: done, with a warning and its cure."""
    url = postgresql.url("invalid", "psycopg")
    folder = project(alembic_project(count=1))
    prestarted(launch, folder, url)
    execute(postgresql, "invalid", b"INSERT INTO t1 VALUES (1), (1)")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    failed = prestarted(launch, folder, url)
    execute(postgresql, "invalid", b"TRUNCATE t1")
    again = prestarted(launch, folder, url)
    skipped = prestarted(launch, folder, url)

    assert [10, 0, 0] == [each.popen.returncode for each in (failed, again, skipped)], again
    assert {"t1_x": False} == indexes(postgresql, "invalid")
    assert [[], []] == [warned(failed), warned(skipped)]
    [said] = warned(again)
    assert ("warning", ["public.t1_x"]) == (said["level"], said["indexes"])
    assert "REINDEX INDEX CONCURRENTLY" in said["cure"]


def test_the_cure_that_is_named_cures(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """After REINDEX INDEX CONCURRENTLY with the name as it was told, nothing more is said; a strange name is quoted."""
    url = postgresql.url("cured", "psycopg")
    folder = project(alembic_project(count=1))
    prestarted(launch, folder, url)
    execute(
        postgresql, "cured", b'CREATE INDEX "Of t1%s" ON t1 (x)', b"UPDATE pg_index SET indisvalid = false"
        b" WHERE indexrelid = '\"Of t1%s\"'::regclass",
    )  # fmt: skip
    (folder / "migrations/versions/r2.py").write_text(migration("r2", "r1"))
    [said] = warned(prestarted(launch, folder, url))
    execute(postgresql, "cured", f"REINDEX INDEX CONCURRENTLY {said['indexes'][0]}".encode())
    (folder / "migrations/versions/r3.py").write_text(migration("r3", "r2"))
    launched = prestarted(launch, folder, url)

    assert ['public."Of t1%s"'] == said["indexes"]
    assert (0, []) == (launched.popen.returncode, warned(launched)), launched


def test_the_index_of_a_partitioned_table_is_no_broken_one(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL
) -> None:
    """Created on the parent only, it is invalid until every partition has its own: that is how it is done."""
    url = postgresql.url("partitioned", "psycopg")
    body = (
        "op.execute('CREATE TABLE p (x int) PARTITION BY LIST (x)')\n"
        "    op.execute('CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)')\n"
        "    op.execute('CREATE INDEX p_x ON ONLY p (x)')"
    )
    files = alembic_project(count=1) | {"migrations/versions/r2.py": migration("r2", "r1", body=body)}
    launched = prestarted(launch, project(files), url)

    assert (0, []) == (launched.popen.returncode, warned(launched)), launched
