"""When is a worker started again, and when does the pool give up?"""

from __future__ import annotations

import random

import pytest

from launcher.errors import ExitCode
from launcher.serving.pool.restarts import LONGEST_S, OOM_WINDOW_S, WINDOW_S, Restarts


def restarts(first: int = 2, intensity: int = 3) -> Restarts:
    """Return a memory with known luck."""
    return Restarts(first=first, intensity=intensity, rng=random.Random(1))  # noqa: S311 - the same each time


def test_pauses_double_up_to_the_longest() -> None:
    """Each failed boot doubles the pause, give or take a quarter, up to 30 s."""
    memory = restarts()
    pauses = [memory.boot_failed(0.0) for _ in range(12)]

    for number, pause in enumerate(pauses):
        assert min(LONGEST_S, 0.5 * 2**number * 0.75) <= pause <= min(LONGEST_S, 0.5 * 2**number * 1.25)
    assert pauses[-1] == LONGEST_S


def test_two_pools_do_not_pause_alike() -> None:
    """Replicas that lost one database come back one after the other."""
    assert Restarts(first=1, intensity=3).boot_failed(0.0) != Restarts(first=1, intensity=3).boot_failed(0.0)


def test_one_at_a_time_while_boots_fail() -> None:
    """After a failure one worker tries at a time; when one has become ready, the rest follow at once."""
    memory = restarts()
    pause = memory.boot_failed(10.0)

    assert not memory.may_start(10.0 + pause - 0.01, booting=0)
    assert memory.may_start(10.0 + pause, booting=0)
    assert not memory.may_start(10.0 + pause, booting=1)
    memory.became_ready()
    assert memory.may_start(10.0, booting=5)


def test_never_ready_is_code_3_when_all_have_failed() -> None:
    """The pool waits for the last of the first workers: one of them might still work."""
    memory = restarts(first=2)
    memory.boot_failed(0.0)

    assert memory.giving_up(0.0, ready=0, booting=1) is None
    memory.boot_failed(0.0)
    end = memory.giving_up(0.0, ready=0, booting=0)
    assert end is not None
    assert end.code == ExitCode.NEVER_READY


def test_an_import_that_fails_for_all_counts_for_all() -> None:
    """With --preload one failed import is the failure of every worker."""
    memory = restarts(first=4)
    memory.nothing_boots(0.0)
    end = memory.giving_up(0.0, ready=0, booting=0)

    assert end is not None
    assert end.code == ExitCode.NEVER_READY


def test_failed_boots_never_end_a_pool_that_serves() -> None:
    """However often a replacement fails: with one worker ready the pool goes on."""
    memory = restarts()
    memory.became_ready()
    for _ in range(1000):
        memory.boot_failed(0.0)

    assert memory.giving_up(0.0, ready=1, booting=0) is None


def test_nobody_ready_any_more_and_boots_failing_is_code_70() -> None:
    """After as many failed starts as there are workers, at least three."""
    memory = restarts(first=2)
    memory.became_ready()
    codes = []
    for _ in range(3):
        memory.boot_failed(0.0)
        end = memory.giving_up(0.0, ready=0, booting=0)
        codes.append(end and end.code)

    assert codes == [None, None, ExitCode.CRASH_LOOP]


def test_when_the_last_ready_worker_dies_boots_are_tried_anew() -> None:
    """Failures while others served, and their long pauses, are no reason to give up before one attempt is made."""
    memory = restarts()
    memory.became_ready()
    for _ in range(10):
        memory.boot_failed(0.0)
    serving = memory.giving_up(1.0, ready=1, booting=0)
    left = memory.giving_up(2.0, ready=0, booting=0)

    assert (serving, left) == (None, None)
    assert memory.may_start(2.0, booting=0)


@pytest.mark.parametrize(("apart_s", "code"), [(WINDOW_S / 3, ExitCode.CRASH_LOOP), (WINDOW_S / 2 + 1, None)])
def test_deaths_of_ready_workers_within_the_window_are_code_70(apart_s: float, code: ExitCode | None) -> None:
    """Three within a minute end the pool though others serve; three over a longer time do not."""
    memory = restarts(intensity=3)
    memory.became_ready()
    for number in range(3):
        memory.died(number * apart_s)
    end = memory.giving_up(2 * apart_s, ready=5, booting=0)

    assert (end and end.code) == code


def test_the_first_death_is_answered_at_once() -> None:
    """One crash costs no pause; the next ones do."""
    memory = restarts(intensity=10)

    assert memory.died(0.0) == 0.0
    assert memory.died(1.0) > 0.3


def test_kills_for_memory_pause_and_end_nothing() -> None:
    """Their pauses double by their number within ten minutes, are not ended by who becomes ready, and that is all."""
    memory = restarts(intensity=3)
    memory.became_ready()
    pauses = []
    for number in range(12):
        now = number * 40.0
        pauses.append(memory.killed_for_memory(now))
        memory.became_ready()
        assert not memory.may_start(now + pauses[-1] - 0.01, booting=0)
        assert memory.may_start(now + pauses[-1], booting=0)

    assert LONGEST_S == pauses[-1]
    assert memory.giving_up(480.0, ready=1, booting=0) is None
    assert memory.killed_for_memory(480.0 + OOM_WINDOW_S) < 1
