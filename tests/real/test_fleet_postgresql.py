"""Does a fleet that locks in PostgreSQL do its work once, and in nobody's way?"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.fleet import fleet_on, reached_server
from support.jumping_clock import JumpingClock
from support.own_postgresql import own_postgresql
from support.waiting import until

if TYPE_CHECKING:
    from support.fleet import Fleet
    from support.launched import Launched
    from support.own_postgresql import OwnPostgreSQL
    from support.postgresql import PostgreSQL
    from support.spawning import Spawner

KEY = "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
HOUR_S = 3600


def test_what_waiting_looks_like_in_the_database(fleet: Fleet) -> None:
    """In fifty looks no session is idle in a transaction or waits in the server, and each waiter has one at most."""
    fleet.step("gate")
    fleet.start_working("holder")
    fleet.start_waiting("w1", "w2", "w3")
    sql = """
        SELECT state, count(*), count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Lock')
        FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'asgi-launcher%' GROUP BY state
    """
    looks = [row for _ in range(50) for row in fleet.query(sql)]
    fleet.witness.open_gate()

    assert {0} == set(fleet.statuses().values()), str(fleet)
    assert {"idle", "active"} >= {state for state, _, _ in looks}
    assert not any(blocked for _, _, blocked in looks)
    assert max(count for _, count, _ in looks) <= len(fleet.members)


def take_all(server: OwnPostgreSQL) -> list[psycopg.Connection[Any]]:
    """Take every connection that the server still has."""
    taken = []
    while True:
        try:
            taken.append(server.connect())
        except psycopg.OperationalError as error:
            assert "too many clients" in str(error)  # noqa: PT017 - another error has another meaning
            return taken


def test_no_connection_is_left(postgresql: PostgreSQL, spawn: Spawner, tmp_path: Path) -> None:
    """With all connections of the server taken those who wait and who come wait on, and go on when there is room."""
    with (
        own_postgresql("max_connections=10", "superuser_reserved_connections=0") as server,
        fleet_on(server, postgresql, spawn, tmp_path) as fleet,
    ):
        fleet.step("gate")
        fleet.start_working("holder")
        fleet.start_waiting("waiter")
        taken = take_all(server)
        fleet.start_waiting("late")
        fleet.witness.open_gate()
        fleet.members["holder"].wait()
        for connection in taken:
            connection.close()

        assert {0} == set(fleet.statuses().values()), str(fleet)
        assert 1 == len(fleet.witness.runs())


def test_the_wait_has_a_limit(fleet: Fleet) -> None:
    """Who does not get the lock in time ends with 75, names the holder and its step, and starts no server."""
    fleet.step("gate")
    holder = fleet.start_working("holder")
    waiter = fleet.start("waiter", "--lock-timeout", "1s", command="run")
    status = waiter.wait()
    failure = waiter.wait_event("launcher.start_failed")
    fleet.witness.open_gate()

    assert status == 75
    assert f"pid {holder.pid}" in failure["message"]
    assert "'work'" in failure["message"]
    assert waiter.event("launcher.handed_over") is None
    assert holder.wait() == 0, str(fleet)


def test_term_to_a_waiter(fleet: Fleet) -> None:
    """A waiter obeys TERM at once, with 143, and the holder is not concerned."""
    fleet.step("gate")
    holder = fleet.start_working("holder")
    fleet.start_waiting("waiter")
    waiter = fleet.members["waiter"]
    asked_at = time.monotonic()
    waiter.signal(signal.SIGTERM)
    status, took_s = waiter.wait(), time.monotonic() - asked_at
    fleet.witness.open_gate()

    assert status == 143
    assert took_s < 5  # 0.1 s on a quiet machine; a waiter's patience is 60 s
    assert holder.wait() == 0, str(fleet)


def test_term_to_the_holder(fleet: Fleet) -> None:
    """TERM goes on to the step, the launcher ends with 143, and the lock is free: the next one waits for nothing."""
    fleet.step("gate")
    holder = fleet.start_working("holder")
    holder.signal(signal.SIGTERM)
    status = holder.wait()
    locks = fleet.query(KEY)
    fleet.witness.open_gate()
    second = fleet.start("second")

    assert status == 143
    assert [] == locks
    assert second.wait() == 0, str(fleet)
    assert second.event("launcher.takeover_begun") is None
    assert [] == fleet.witness.overlaps()


def held_by(pid: int) -> list[str]:
    """Return what its descriptors are; one that is closed meanwhile (it still loads its libraries) is not held."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


def test_the_server_holds_nothing(fleet: Fleet) -> None:
    """The server it becomes has neither lock nor connection: another release gets the lock while the first serves."""
    fleet.step("0.1")
    serving = fleet.start("r1", command="run")
    until(lambda: reached_server(serving) and Path(f"/proc/{serving.pid}/comm").read_text() == "sleep\n", "sleep", 30)
    links = held_by(serving.pid)
    sessions = fleet.query("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'asgi-launcher%'")
    second = fleet.start("r2", release="r2")

    assert 1 == sum(link.startswith("socket:") for link in links)  # the one it will serve on
    assert [] == sessions
    assert second.wait() == 0, str(fleet)
    assert serving.running
    assert ["r1", "r2"] == [row.key for row in fleet.rows()]


def test_two_applications_in_one_database(fleet: Fleet) -> None:
    """Namespaces do not block each other, and each has its own records of the same step and release."""
    fleet.step("gate")
    first = fleet.start_working("shop", "--namespace", "shop")
    fleet.start_working("blog", "--namespace", "blog")
    fleet.witness.open_gate()

    assert {0} == set(fleet.statuses().values()), str(fleet)
    assert first.event("launcher.lock_busy") is None
    assert [("blog", "done"), ("shop", "done")] == fleet.query(
        "SELECT namespace, state FROM asgi_launcher_ledger ORDER BY namespace"
    )


def test_one_application_in_two_databases(fleet: Fleet, postgresql: PostgreSQL, spawn: Spawner, tmp_path: Path) -> None:
    """Two databases of one server are two places: the step is done for each, and neither waits for the other."""
    with fleet_on(postgresql, postgresql, spawn, tmp_path) as other:
        for one in (fleet, other):
            one.step("gate")
            one.start_working("holder", "--namespace", "shop")
            one.witness.open_gate()

        assert {"holder": 0} == fleet.statuses() == other.statuses()
        assert ["done"] == [row.state for row in fleet.rows()] == [row.state for row in other.rows()]


def hours_ahead(launched: Launched) -> list[int]:
    """Return by how many hours the clock of a member was wrong when it wrote each of its events."""
    now = datetime.now(tz=UTC)
    return [
        round((datetime.fromisoformat(event["timestamp"]) - now).total_seconds() / HOUR_S) for event in launched.events
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="preloads a library of Linux")
def test_a_clock_that_jumps(fleet: Fleet, tmp_path: Path) -> None:
    """A holder whose clock goes an hour ahead and then back during the step loses nothing; the records are in time."""
    clock = JumpingClock(tmp_path)
    clock.jump(HOUR_S)
    fleet.step("gate")
    holder = fleet.start_working("holder", env=clock.env)
    fleet.start_waiting("waiter")
    for seconds in (-HOUR_S, HOUR_S, -HOUR_S):
        clock.jump(seconds)
        for _ in range(10):
            fleet.witness.wait_beat()
    fleet.witness.open_gate()
    near = "SELECT abs(extract(epoch FROM now() - {}::timestamptz)) < 300 FROM asgi_launcher_ledger"

    assert {"holder": 0, "waiter": 0} == fleet.statuses(), str(fleet)
    assert (1, -1) == (hours_ahead(holder)[0], hours_ahead(holder)[-1])
    assert 1 == len(fleet.witness.runs())
    assert [(True,)] == fleet.query(near.format("started_at")) == fleet.query(near.format("finished_at"))
