"""Is a fleet migrated once by Alembic in PostgreSQL, and does waiting stay out of the migrations' way?"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from support.alembic_projects import ASYNC_ENV, SYNC_ENV, alembic_project, migration
from support.fleet import fleet_on, reached_server
from support.projects import write_project
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.fleet import Fleet
    from support.postgresql import PostgreSQL
    from support.spawning import Spawner

FLEET = 20
CONTROL = 4
CONTROL_KEY = 4711
FOLLOWERS = 5
# Longer than deadlock_timeout (1 s), after which PostgreSQL looks for the victim (evidence/locks.md, M1).
HAVE_WAITED_S = 3.0
ENVS = {
    "": SYNC_ENV.replace("create_engine(url", "create_engine(url.replace('://', '+psycopg://', 1)"),
    "asyncpg": ASYNC_ENV,
}
BEGUN = "op.execute(\"INSERT INTO begun VALUES ('{0}')\"); op.execute('CREATE TABLE {0} (x int)')"
INDEX = """with op.get_context().autocommit_block():
        op.execute('CREATE INDEX CONCURRENTLY items_n ON items (n)')"""
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('items_n')"
KEY = "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
BLOCKED = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
UNBLOCK = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
HANGS = (
    "SELECT wait_event FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
)
STUCK = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
# A follower as other tools make them: it waits inside the server.
BLOCKS = """
import sys, psycopg
psycopg.connect(sys.argv[1], autocommit=True).execute("SELECT pg_advisory_lock(%s)", [int(sys.argv[2])])
"""


def with_migrations(fleet: Fleet, driver: str, bodies: dict[str, str], steps: str = "") -> None:
    """Let the fleet's folder be a project with these migrations, one after the other, after these steps."""
    fleet.step("gate")
    project = alembic_project(env=ENVS[driver], count=0)
    for before, (name, body) in zip([None, *bodies], bodies.items(), strict=False):
        project[f"migrations/versions/{name}_x.py"] = migration(name, before, body=body)
    settings = (fleet.folder / "launcher.toml").read_text() if steps == "gate" else head(fleet)
    project["launcher.toml"] = f'{settings}\n[[prestart]]\nalembic = "alembic.ini"\n'
    write_project(fleet.folder, project)


def head(fleet: Fleet) -> str:
    """Return the settings of the fleet without its step."""
    return (fleet.folder / "launcher.toml").read_text().partition("[[prestart]]")[0]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("driver", ["", "asyncpg"])
def test_twenty_launchers_migrate_once(postgresql: PostgreSQL, spawn: Spawner, tmp_path: Path, driver: str) -> None:
    """Of twenty at once on an empty database one migrates and nineteen skip; all become their server."""
    with fleet_on(postgresql, postgresql, spawn, tmp_path, driver=driver) as fleet:
        with_migrations(fleet, driver, {name: BEGUN.format(name) for name in ("r1", "r2")})
        fleet.execute("CREATE TABLE begun (revision text)")
        env = {"DATABASE_URL": fleet.lock}
        members = [fleet.start(f"m{number}", command="run", env=env) for number in range(FLEET)]
        until(lambda: all(map(reached_server, members)), "twenty servers", 150)
        ran = [launched for launched in members if launched.event("launcher.step_done")]
        skipped = [launched for launched in members if launched.event("launcher.step_skipped")]

        assert [("r1",), ("r2",)] == fleet.query("SELECT revision FROM begun ORDER BY revision")
        assert (1, FLEET - 1) == (len(ran), len(skipped))


@pytest.mark.timeout(180)
def test_plain_alembic_fails(fleet: Fleet) -> None:
    """The control: of four plain `alembic upgrade head` on an empty database one migrates and three fail.

    The first is held in its migration until each of the others waits for what it has begun.
    """
    held = f"op.execute('SELECT pg_advisory_xact_lock({CONTROL_KEY})'); "
    with_migrations(fleet, "", {"r1": held + BEGUN.format("r1")})
    fleet.execute("CREATE TABLE begun (revision text)")
    argv = [sys.executable, "-m", "alembic", "upgrade", "head"]
    with fleet.server.connect(fleet.database) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", [CONTROL_KEY])
        together = [fleet.spawn(argv, cwd=fleet.folder, env={"DATABASE_URL": fleet.lock}) for _ in range(CONTROL)]
        until(lambda: len(fleet.query(STUCK)) == CONTROL, "each to wait for a lock", 90)
    statuses = sorted(launched.wait(60) for launched in together)

    assert [0, 1, 1, 1] == statuses, "\n".join(map(str, together))


def wait_for_long() -> None:
    """Let followers wait for longer than the server's deadlock_timeout."""
    since = time.monotonic()
    until(lambda: time.monotonic() - since > HAVE_WAITED_S, "some time to pass")


def prepare_index(fleet: Fleet) -> None:
    """Let the holder be about to make an index on a table with rows, with CREATE INDEX CONCURRENTLY."""
    fleet.execute("CREATE TABLE items AS SELECT n FROM generate_series(1, 50000) n")
    with_migrations(fleet, "", {"r1": INDEX}, steps="gate")
    fleet.start_working("holder")


@pytest.mark.timeout(120)
def test_concurrent_index_beside_waiting_followers(fleet: Fleet) -> None:
    """CREATE INDEX CONCURRENTLY succeeds at once beside five that have waited for long: they keep nothing open."""
    prepare_index(fleet)
    fleet.start_waiting(*[f"w{number}" for number in range(FOLLOWERS)])
    wait_for_long()
    fleet.witness.open_gate()
    statuses = fleet.statuses()
    took = [event["seconds"] for event in fleet.members["holder"].events if event["event"] == "launcher.step_done"]

    assert {0} == set(statuses.values()), str(fleet)
    assert 1 == len(fleet.witness.runs()), str(fleet)
    assert [(True,)] == fleet.query(VALID)
    assert took[-1] < 10


@pytest.mark.timeout(120)
def test_concurrent_index_beside_blocking_followers(fleet: Fleet) -> None:
    """The mutant: followers that wait inside the server and the holder's index wait for each other, and nobody says so.

    The server cannot see it: the session with the lock waits for nothing. Long after deadlock_timeout it still hangs.
    """
    prepare_index(fleet)
    ((key,),) = fleet.query(KEY)
    words = [sys.executable, "-c", BLOCKS, fleet.lock, str(key)]
    for _ in range(FOLLOWERS):
        fleet.spawn(words)
    until(lambda: len(fleet.query(BLOCKED)) == FOLLOWERS, "all to block")
    wait_for_long()
    fleet.witness.open_gate()
    until(lambda: fleet.query(HANGS), "the holder to wait for them", 30)
    wait_for_long()
    state = fleet.query(HANGS), fleet.query(VALID), len(fleet.query(BLOCKED))
    fleet.query(UNBLOCK)

    assert ([("virtualxid",)], [(False,)], FOLLOWERS) == state
    assert {"holder": 0} == fleet.statuses(), str(fleet)
    assert [(True,)] == fleet.query(VALID)
