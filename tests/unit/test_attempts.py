"""Is a step that fails tried often enough, and not more often?"""

from __future__ import annotations

import pytest

from launcher.boot.attempts import GONE, pause_s
from launcher.boot.takeover import unfinished
from launcher.errors import StepFailed
from launcher.locks import Owner, Record, State
from launcher.origin import DEFAULT
from launcher.plan import PlannedStep
from launcher.settings.topics import StepSettings
from launcher.steps.command import RunStep

OWNER = Owner(host="here", pid=7, release="r1")


def planned(attempts: int = 3) -> PlannedStep:
    """Return a step that may be tried so often."""
    settings = StepSettings(name="seed", type="run", value="true", origin=DEFAULT, attempts=attempts)
    return PlannedStep(settings=settings, step=RunStep(settings), once_per="release")


def record(
    state: State = "failed",
    attempt: int = 1,
    *,
    age_s: float | None = 0.0,
    exit_code: int | None = 1,
    token: int = 1,
    tail: str = "no such column",
) -> Record:
    """Return a record of the step."""
    return Record(
        step="seed",
        key="r1",
        state=state,
        token=token,
        attempt=attempt,
        owner=OWNER,
        started_at="2026-01-01T00:00:00.000Z",
        finished_at="2026-01-01T00:00:01.000Z",
        exit_code=exit_code,
        tail=tail,
        age_s=age_s,
    )


@pytest.mark.parametrize(
    "known",
    [None, record("done"), record("running"), record(attempt=9, exit_code=None)],
    ids=["nothing", "done", "running", "ended from outside"],
)
def test_what_did_not_fail_waits_for_nothing(known: Record | None) -> None:
    """Nothing recorded, done, running, or ended from outside: the next attempt may begin at once."""
    assert 0.0 == pause_s(planned(), known)


def test_the_first_attempts_follow_with_growing_pauses() -> None:
    """One second after the end of the first failure, two after the second, and at most half a second more."""
    pauses = [pause_s(planned(), record(attempt=attempt)) for attempt in (1, 2)]

    assert [True, True] == [1 <= pauses[0] <= 1.5, 2 <= pauses[1] <= 2.5]
    assert 0.0 == pause_s(planned(), record(attempt=2, age_s=2.0))


def test_after_them_the_recorded_failure_is_told() -> None:
    """With the attempts used up nobody tries for 30 s: who failed, how, when the next one may be, and its output."""
    with pytest.raises(StepFailed) as caught:
        pause_s(planned(), record(attempt=3, age_s=10))

    assert [word for word in ("3 times", "exit code 1", "here pid 7", "20s") if word not in caught.value.message] == []
    assert "no such column" == caught.value.detail


@pytest.mark.parametrize(("attempt", "cool_down_s"), [(3, 30), (4, 60), (5, 120), (6, 240), (7, 300), (5000, 300)])
def test_one_attempt_is_let_through_now_and_then(attempt: int, cool_down_s: float) -> None:
    """So that what was mended outside heals by itself: after 30 s, a minute, two, four, then every five."""
    with pytest.raises(StepFailed):
        pause_s(planned(), record(attempt=attempt, age_s=cool_down_s - 0.1))

    assert 0.0 == pause_s(planned(), record(attempt=attempt, age_s=cool_down_s))


def test_a_step_that_took_its_launcher_with_it_is_counted() -> None:
    """Killed with its launcher (out of memory): no pause after the takeover's own, and the same bound."""
    first, third = (record(attempt=attempt, exit_code=None, tail=GONE) for attempt in (1, 3))

    assert 0.0 == pause_s(planned(), first)
    with pytest.raises(StepFailed, match="killed together with its launcher"):
        pause_s(planned(), third)


def test_attempts_are_a_steps_own_setting() -> None:
    """`attempts = 1`: nobody tries again after the first failure."""
    with pytest.raises(StepFailed):
        pause_s(planned(attempts=1), record(attempt=1))


def test_a_ledger_without_an_age_is_read_by_this_hosts_clock() -> None:
    """A plugin's ledger need not tell how old a record is."""
    assert 0.0 == pause_s(planned(), record(attempt=3, age_s=None))


def test_only_the_newest_beginning_of_a_step_is_unfinished() -> None:
    """A record that says `running` under an older token was waited for by whoever began after it."""
    old, new, done = record("running", token=1), record("running", token=2), record("done", token=3)

    assert [new] == unfinished([old, new])
    assert [] == unfinished([old, new, done])
