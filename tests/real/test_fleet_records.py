"""Do the records keep a fleet from doing too much, and from getting stuck?"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from support.fleet import TAKEOVER_S, reached_server
from support.waiting import until

if TYPE_CHECKING:
    from support.fleet import Fleet

ROUNDS = 8
STALE = "UPDATE asgi_launcher_ledger SET state = 'running', finished_at = NULL, exit_code = NULL"


def test_a_step_that_always_fails(fleet: Fleet) -> None:
    """Six replicas try it three times in all, end with 10 and the failure's own words, and none starts its server."""
    fleet.step("0.1", "fails-until=99")
    for number in range(6):
        fleet.start(f"m{number}", command="run")

    assert {10} == set(fleet.statuses().values()), str(fleet)
    assert [1, 2, 3] == [run.attempt for run in fleet.witness.runs()]
    assert all("failed on purpose" in launched.stderr for launched in fleet.members.values())
    assert not any(launched.event("launcher.handed_over") for launched in fleet.members.values())
    assert [("failed", 3)] == [(row.state, row.attempt) for row in fleet.rows()]


def test_a_step_that_fails_once(fleet: Fleet) -> None:
    """Who failed says so; one of the others makes the second attempt, and the rest skip."""
    fleet.step("0.5", "fails-until=2")
    for number in range(4):
        fleet.start(f"m{number}", command="run")
    failed = until(lambda: [one for one in fleet.members.values() if not one.running], "one to fail", 30)
    others = [launched for launched in fleet.members.values() if launched not in failed]
    until(lambda: all(map(reached_server, others)), "the others to serve", 30)

    assert [10] == [launched.wait() for launched in failed]
    assert [1, 2] == [run.attempt for run in fleet.witness.runs()]
    assert [("done", 2)] == [(row.state, row.attempt) for row in fleet.rows()]


def test_a_stale_running_row(fleet: Fleet) -> None:
    """A record that says `running`, and nobody who runs: as out of a backup. It costs the grace and blocks nothing."""
    fleet.step("0.1")
    assert fleet.start("first").wait() == 0, str(fleet)
    fleet.execute(STALE)
    begun_at = fleet.witness.now()
    fleet.start("second")
    fleet.start("third")
    (_, again) = fleet.witness.wait_runs(2)

    assert {0} == set(fleet.statuses().values()), str(fleet)
    assert TAKEOVER_S - 0.1 <= (again.started - begun_at).total_seconds() < TAKEOVER_S + 10
    assert [1, 2] == [run.token for run in fleet.witness.runs()]
    assert [("done", 2)] == [(row.state, row.token) for row in fleet.rows()]


def test_an_old_owner_writes_nothing(fleet: Fleet) -> None:
    """Who ends with an older token than the newest does not write `done`, and says 75."""
    fleet.step("gate")
    holder = fleet.start_working("holder")
    fleet.execute("UPDATE asgi_launcher_ledger SET token = token + 1")
    fleet.witness.open_gate()

    assert holder.wait() == 75, str(fleet)
    assert [("running", 2)] == [(row.state, row.token) for row in fleet.rows()]


def test_no_release_id(fleet: Fleet) -> None:
    """Without one the source is the release: an image with other content runs the step, the same one skips it."""
    fleet.step("0.1")
    words = ("prestart", "--lock", fleet.lock, "--lock-expiry", "8s")
    for number, text in enumerate(["a = 1", "a = 1", "a = 2"]):
        (fleet.folder / "models.py").write_text(text)
        assert fleet.start_as(f"m{number}", *words).wait() == 0, str(fleet)

    assert ["m0", "m2"] == [run.member for run in fleet.witness.runs()]
    assert 2 == len({row.key for row in fleet.rows()})


@pytest.mark.parametrize("release", ["latest", "", "registry/app:main"])
def test_a_release_id_that_moves(fleet: Fleet, release: str) -> None:
    """An id that is empty or that two images may share is refused, never a reason to skip."""
    fleet.step("0.1")
    refused = fleet.start("m", release=release)

    assert refused.wait() == 2
    assert [] == fleet.witness.runs()


@pytest.mark.timeout(180)
def test_rolling_deploys(fleet: Fleet) -> None:
    """Old replicas come back while new ones start: the step of each release runs once, and in their order."""
    seed = random.randrange(10**6)  # noqa: S311 - to be printed, not to be secret
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    rng = random.Random(seed)  # noqa: S311 - as above
    fleet.step("0.1")
    assert fleet.start("first", release="r0").wait() == 0, str(fleet)
    for number in range(ROUNDS):
        releases = [f"r{number}"] * 3 + [f"r{number + 1}"] * 3
        rng.shuffle(releases)
        for index, release in enumerate(releases):
            fleet.start(f"{number}-{index}", release=release)
            if rng.random() < 0.5:
                fleet.members[f"{number}-{index}"].wait_event("launcher.steps_planned")
        assert {0} == set(fleet.statuses().values()), str(fleet)

    assert [] == fleet.witness.overlaps(), str(fleet)
    assert [f"r{number}" for number in range(ROUNDS + 1)] == [row.key for row in fleet.rows()]
    assert ROUNDS + 1 == len(fleet.witness.runs())
