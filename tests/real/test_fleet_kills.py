"""Does nothing run twice at the same time when processes, sessions and servers die, on any host?

By the witness's clock: every run of a step beats until its last moment (`support.witness`).
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from support.fleet import GIVE_UP_S, TAKEOVER_S, Fleet, fleet_on
from support.namespaces import NAMESPACES, needs_namespaces
from support.own_postgresql import own_postgresql
from support.partition import stopped
from support.scenes import SLACK_S, WAITERS, Scene, play
from support.spawning import Spawner
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.own_postgresql import Shutdown
    from support.postgresql import PostgreSQL
    from support.scenes import Ended

pytestmark = [pytest.mark.race, pytest.mark.timeout(180)]
KILLED = -signal.SIGKILL
SECOND_ATTEMPT = [("done", 2, 2)]
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def kill(fleet: Fleet) -> None:
    """Kill the holder alone."""
    fleet.members["holder"].popen.kill()


def kill_container(fleet: Fleet) -> None:
    """Kill the first process of the holder's process namespace: the kernel kills all the others."""
    os.kill(fleet.members["holder"].children()[0], signal.SIGKILL)


def stop(fleet: Fleet) -> None:
    """Stop the holder alone."""
    stopped(fleet.members["holder"].pid)


def freeze(fleet: Fleet) -> None:
    """Stop the holder and everything below it, as when a virtual machine is paused."""
    for pid in (fleet.members["holder"].pid, *fleet.members["holder"].children(recursive=True)):
        stopped(pid)


def wake(fleet: Fleet) -> None:
    """Let the holder and everything below it go on, the step first."""
    holder = fleet.members["holder"]
    for pid in reversed([holder.pid, *holder.children(recursive=True)]):
        os.kill(pid, signal.SIGCONT)


def terminate(fleet: Fleet) -> None:
    """End the session that has the lock, from the server's side."""
    fleet.terminate(fleet.holder())


def stop_and_terminate(fleet: Fleet) -> None:
    """Let the lock be free at once while the holder cannot do anything about it."""
    stop(fleet)
    terminate(fleet)


SCENES = {
    "killed": Scene(strike=kill),
    "container killed": Scene(strike=kill_container, prefix=CONTAINER),
    "stopped": Scene(strike=stop, wake=wake),
    "frozen": Scene(strike=freeze, wake=wake),
    "terminated": Scene(strike=terminate),
    "terminated, step deaf": Scene(strike=terminate, step=("gate", "deaf", "daemon")),
    "stopped, terminated, step deaf": Scene(strike=stop_and_terminate, step=("gate", "deaf"), wake=wake),
}
each_scene = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_namespaces) if "container" in name else name for name in SCENES]
)


@pytest.fixture(scope="module")
def played(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """Let all of this happen to holders, to each its own."""
    folder = tmp_path_factory.mktemp("kills")
    spawner = Spawner(folder / "processes")
    with contextlib.ExitStack() as stack:
        stack.callback(spawner.end)
        possible = {name: scene for name, scene in SCENES.items() if NAMESPACES or "container" not in name}
        yield play(possible, lambda: stack.enter_context(fleet_on(postgresql, postgresql, spawner, folder)))


@each_scene
def test_one_waiter_does_the_work(played: dict[str, Ended], name: str) -> None:
    """Whatever ends the holder, one waiter makes the second attempt, the only one that is recorded; all waiters end."""
    ended = played[name]

    assert dict.fromkeys(WAITERS, 0) == {waiter: ended.statuses[waiter] for waiter in WAITERS}, ended.told
    assert SECOND_ATTEMPT == ended.records, ended.told
    assert {1, 2} == {run.attempt for run in ended.runs}, ended.told
    assert 1 == len({run.member for run in ended.runs if run.attempt > 1})


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=needs_namespaces) if "container" in n else n for n in SCENES if n != "frozen"],
)
def test_never_two_at_a_time(played: dict[str, Ended], name: str) -> None:
    """All of the holder's step, deaf ones and daemons too, is dead before another one begins."""
    assert [] == played[name].overlaps, played[name].told


@pytest.mark.parametrize("name", [name for name in SCENES if "killed" not in name])
def test_who_lost_the_lock_says_so(played: dict[str, Ended], name: str) -> None:
    """A holder that lives on ends with 75: not with success, and without having written anything."""
    assert 75 == played[name].statuses["holder"], played[name].told


@pytest.mark.parametrize("name", ["killed", "terminated"])
def test_not_much_later_than_the_grace(played: dict[str, Ended], name: str) -> None:
    """The lock is free at once when its session ends: the successor waits for the grace and not for the expiry."""
    ended = played[name]

    assert (ended.attempts[1].started - ended.struck_at).total_seconds() < TAKEOVER_S + SLACK_S, ended.told


def test_a_terminated_session_is_noticed_at_once(played: dict[str, Ended]) -> None:
    """The step of a holder whose session was ended is dead sooner than silence would have ended it."""
    ended = played["terminated"]

    assert (ended.attempts[0].seen - ended.struck_at).total_seconds() < GIVE_UP_S, ended.told


def test_a_frozen_holder_wakes(played: dict[str, Ended]) -> None:
    """What cannot run cannot be killed: woken when another one is at work, its step is dead long before a grace."""
    ended = played["frozen"]

    assert ended.woken_at is not None
    assert (ended.attempts[0].seen - ended.woken_at).total_seconds() < 3.0, ended.told


def records(fleet: Fleet) -> list[tuple[str, int, int]]:
    """Return state, token and attempt of each record."""
    return [(row.state, row.token, row.attempt) for row in fleet.rows()]


@pytest.mark.parametrize(("orphans", "worked"), [("wait", [1, 2]), ("terminate", [2])])
def test_kill_9_while_the_database_works_for_the_step(fleet: Fleet, orphans: str, worked: list[int]) -> None:
    """A dead holder's statement is waited for, or is ended and undone: none is carried out when the next one begins."""
    fleet.step("0", "sql=11,0" if orphans == "wait" else "sql=60,0")  # the takeover takes its time, too
    fleet.execute("CREATE TABLE work (token bigint)")
    holder = fleet.start("holder", "--orphans", orphans)
    until(lambda: [run.others for run in fleet.witness.runs()] == [0], "the statement to begin", 30)
    fleet.start_waiting("waiter", words=["--orphans", orphans])
    holder.popen.kill()

    assert {"holder": KILLED, "waiter": 0} == fleet.statuses(), str(fleet)
    assert [0, 0] == [run.others for run in fleet.witness.runs()], str(fleet)
    assert [(token,) for token in worked] == fleet.query("SELECT token FROM work ORDER BY token")
    assert records(fleet) == SECOND_ATTEMPT


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_the_server_is_restarted(postgresql: PostgreSQL, spawn: Spawner, tmp_path: Path, how: Shutdown) -> None:
    """The holder's step is dead and it says 75; of the waiters, who come back by themselves, one does the work."""
    with own_postgresql() as server, fleet_on(server, postgresql, spawn, tmp_path) as fleet:
        fleet.step("gate")
        holder = fleet.start_working("holder")
        fleet.start_waiting("w1", "w2")
        server.restart(how)
        status = holder.wait()
        fleet.witness.wait_runs(2)
        fleet.witness.open_gate()

        assert {"holder": 75, "w1": 0, "w2": 0} == fleet.statuses(), str(fleet)
        assert status == 75
        assert [] == fleet.witness.overlaps(), str(fleet)
        assert records(fleet) == SECOND_ATTEMPT


def test_fail_over(postgresql: PostgreSQL, spawn: Spawner, tmp_path: Path) -> None:
    """A standby takes the primary's place, and knows of no lock: the record it has makes the next holder wait."""
    with own_postgresql() as primary, fleet_on(primary, postgresql, spawn, tmp_path) as fleet:
        fleet.step("gate")
        with primary.standby() as standby:
            standby.start()
            holder = fleet.start_working("holder")
            fleet.start_waiting("waiter")
            fleet.server = standby
            until(lambda: fleet.query("SELECT to_regclass('asgi_launcher_ledger')") != [(None,)], "the table there")
            until(lambda: [row.state for row in fleet.rows()] == ["running"], "the record there")
            standby.replace(primary)
            status = holder.wait()
            fleet.witness.wait_runs(2)
            fleet.witness.open_gate()

            assert {"holder": 75, "waiter": 0} == fleet.statuses(), str(fleet)
            assert status == 75
            assert [] == fleet.witness.overlaps(), str(fleet)
            assert records(fleet) == SECOND_ATTEMPT


def test_kill_9_between_the_end_and_the_record(fleet: Fleet) -> None:
    """A step whose end was not written down is run again, under the next token: at least once, never "perhaps"."""
    fleet.step("gate")
    holder = fleet.start_working("holder")
    session = fleet.holder()
    waits = f"SELECT FROM pg_stat_activity WHERE pid = {session.backend} AND wait_event_type = 'Lock'"
    with fleet.server.connect(fleet.database) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE asgi_launcher_ledger IN EXCLUSIVE MODE")  # reading goes on
        fleet.witness.open_gate()
        until(lambda: fleet.query(waits), "the record to be written")
        holder.popen.kill()
        fleet.terminate(session)
    second = fleet.start("second")

    assert second.wait() == 0, str(fleet)
    assert [1, 2] == [run.token for run in fleet.witness.runs() if run.ended]
    assert records(fleet) == SECOND_ATTEMPT


def test_nothing_is_left(fleet: Fleet) -> None:
    """After a lost lock the member that ended has left no process behind."""
    fleet.step("gate", "daemon")
    holder = fleet.start_working("holder")
    pids = holder.children(recursive=True)
    fleet.terminate(fleet.holder())

    assert holder.wait() == 75, str(fleet)
    assert [] == [pid for pid in pids if psutil.pid_exists(pid)]
