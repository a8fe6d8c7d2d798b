"""Is what a dead migration's server still does waited for, whatever the application calls its sessions?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from support.alembic_projects import ASYNC_ENV, SYNC_ENV, alembic_project, migration
from support.fleet import fleet_on
from support.projects import write_project
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.fleet import Fleet
    from support.postgresql import PostgreSQL
    from support.spawning import Spawner

LONG = "SELECT pg_sleep(seconds) FROM patience"
AT_WORK = f"FROM pg_stat_activity WHERE query = '{LONG}' AND state = 'active' AND pid <> pg_backend_pid()"
COUNTS = f'op.execute("INSERT INTO work SELECT count(*) {AT_WORK}"); op.execute("{LONG}")'
TABLES = """
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('r1');
CREATE TABLE work (others int);
CREATE TABLE patience AS SELECT 60 AS seconds
"""
ENVS = {
    "psycopg": SYNC_ENV,
    "asyncpg": ASYNC_ENV.replace(
        "NullPool)", "NullPool, connect_args={'server_settings': {'application_name': 'shop'}})"
    ),
}
QUERIES = {"psycopg": "?application_name=shop", "asyncpg": ""}


def prepare(fleet: Fleet, driver: str) -> None:
    """Let one migration be due whose statement takes a minute the first time, and which counts those beside it."""
    files = alembic_project(ENVS[driver], count=1)
    files |= {"migrations/versions/r2.py": migration("r2", "r1", body=COUNTS)}
    write_project(fleet.folder, files | {"launcher.toml": '[[prestart]]\nalembic = "alembic.ini"\n'})
    fleet.execute(TABLES)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("driver", list(ENVS))
def test_kill_9_in_a_migration_of_an_application_that_names_itself(
    postgresql: PostgreSQL, spawn: Spawner, tmp_path: Path, driver: str
) -> None:
    """The holder is killed in a long statement: it is found and ended before the next migration begins."""
    with fleet_on(postgresql, postgresql, spawn, tmp_path) as fleet:
        prepare(fleet, driver)
        url = fleet.lock.replace("postgresql:", f"postgresql+{driver}:") + QUERIES[driver]
        holder = fleet.start("holder", env={"DATABASE_URL": url})
        until(lambda: fleet.query(f"SELECT {AT_WORK}"), "the statement to begin", 30)
        fleet.execute("UPDATE patience SET seconds = 0")
        fleet.start_waiting("waiter", words=["--orphans", "terminate"], env={"DATABASE_URL": url})
        holder.popen.kill()

        assert {"holder": -signal.SIGKILL, "waiter": 0} == fleet.statuses()
        assert [(0,)] == fleet.query("SELECT others FROM work")
        assert [("done", 2)] == [(row.state, row.attempt) for row in fleet.rows()]
