"""Do few workers go first where there are more of them than CPUs, and does that change anything else?

Workers are played; each is ready two seconds after its start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from launcher.errors import ExitCode
from launcher.serving.pool.wave import PATIENCE_S
from launcher.serving.rules import Rules
from support.play import BOOT_S, Play, begun


@pytest.fixture
def begin() -> Iterator[Any]:
    """Make a pool that has started nobody yet: `begin(workers, cpus)`."""
    with ExitStack() as stack:

        def make(workers: int, cpus: float) -> Play:
            play = stack.enter_context(begun(Rules(workers=workers, graceful_timeout_s=8, restart_intensity=999)))
            play.pool.wave.cpus, play.pool.wave.cpu_s = lambda: cpus, lambda _: None
            return play

        yield make


@pytest.mark.parametrize(
    ("workers", "cpus", "first"),
    [
        (6, 2, 1),
        (3, 2, 1),
        (2, 2, 2),
        (8, 4, 3),
        (6, 4, 3),
        (5, 4, 5),
        (4, 2.5, 1),
        (9, 3.999999999, 3),
        (1, 0.5, 1),
        (2, 0.5, 1),
        (2, 1, 1),
        (2, 1.4, 2),
        (2, 1.3, 1),
        (5, 64, 5),
    ],
)
def test_how_many_go_first(begin: Any, workers: int, cpus: float, first: int) -> None:
    """With half as many again as there are CPUs: all CPUs but one, and at least one; all others when one serves."""
    play = begin(workers, cpus)
    play.run(BOOT_S - 0.2)
    before = play.started
    play.run(0.4)

    assert (first, workers) == (before, play.started)
    play.run(BOOT_S)
    assert (workers, workers) == (play.ready, play.most)


def test_one_that_hangs_keeps_nobody_away(begin: Any) -> None:
    """It has five seconds; then all others start, and serve."""
    play = begin(6, 2)
    play.hangs = True
    play.run(PATIENCE_S - 0.1)
    before, play.hangs = play.started, False
    play.run(BOOT_S + 0.5)

    assert (1, 6, 5) == (before, play.started, play.ready)


@pytest.mark.parametrize(("part", "started"), [(0.9, 1), (0.6, 1), (0.4, 6), (0.0, 6)])
def test_one_that_needs_no_cpu_keeps_nobody_away(begin: Any, part: float, started: int) -> None:
    """It waits for something else, as the others can do at the same time: that is known after half a second."""
    play = begin(6, 2)
    play.pool.wave.cpu_s = lambda _: part * 0.7
    play.run(0.4)
    before = play.started
    play.run(0.3)

    assert (1, started) == (before, play.started)


@pytest.mark.parametrize("timeout_s", [3, 120])
@pytest.mark.parametrize("cpus", [2, 64])
def test_a_pool_that_hangs_as_a_whole_ends_hardly_later(begin: Any, cpus: float, timeout_s: int) -> None:
    """The first one is given up first, and not tried again while the others are: as many are started as ever."""
    play = begin(6, cpus)
    play.pool.adopt(Rules(workers=6, startup_timeout_s=timeout_s))
    play.hangs = True
    begun_at = play.now
    play.run(1000)

    assert (ExitCode.NEVER_READY, 6) == (play.pool.outcome, play.started)
    assert play.now - begun_at < timeout_s + min(PATIENCE_S, timeout_s / 4) + 3


@pytest.mark.parametrize("cpus", [2, 64])
def test_a_boot_that_fails_ends_as_early(begin: Any, cpus: float) -> None:
    """As many as there are to be are started, without a pause between them, and then it ends with 3."""
    play = begin(6, cpus)
    play.boots = False
    begun_at = play.now
    play.run(60)

    assert (ExitCode.NEVER_READY, 6, 6) == (play.pool.outcome, play.started, play.pool.restarts.failures)
    assert play.now - begun_at < 1.5


def test_a_few_that_fail_are_tried_again_one_at_a_time(begin: Any) -> None:
    """Once one serves, whoever cannot boot is nobody's reason to go first again."""
    play = begin(6, 2)
    play.run(BOOT_S - 0.5)
    play.boots = False
    play.run(1)
    play.run(10)
    alone, play.boots = play.ready, True
    play.run(120)

    assert (1, 6, None) == (alone, play.ready, play.pool.outcome)


def test_a_system_that_has_no_room_for_a_process(begin: Any) -> None:
    """No worker could be started: it is tried again with pauses, as ever, and few go first when it can be."""
    play = begin(6, 2)
    play.startable = OSError("no processes left")
    play.run(1)
    play.startable = True
    play.run(60)

    assert (6, None) == (play.ready, play.pool.outcome)


def test_after_all_have_died(begin: Any) -> None:
    """Nobody serves, as at the start: one comes first."""
    play = begin(6, 2)
    play.run(10)
    for pid in list(play.workers):
        play.kill(pid)
    play.run(0.05)
    for _ in range(600):
        play.run(0.1)
        if play.started > 6:
            break
    first = play.started - 6
    play.run(60)

    assert (1, 6, 12) == (first, play.ready, play.started)


def test_where_others_serve_all_are_started_at_once(begin: Any) -> None:
    """Five of six have died: nobody waits for those that come."""
    play = begin(6, 2)
    play.run(10)
    for pid in list(play.workers)[1:]:
        play.kill(pid)
    play.run(60)

    assert 6 == play.ready
    members = sorted(member.started for member in play.pool.members)[1:]
    assert members[-1] - members[0] < BOOT_S


def test_a_pool_that_is_made_smaller_meanwhile(begin: Any) -> None:
    """Who has not been started is not missed."""
    play = begin(6, 2)
    play.run(1)
    play.pool.scale(2)
    play.run(20)

    assert (2, 2) == (play.ready, play.started)


def test_a_reload_meanwhile(begin: Any) -> None:
    """The one that boots is replaced as ever, and all the others come with the new code."""
    play = begin(6, 2)
    answers: list[int] = []
    play.run(1)
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(60)

    assert ([0], 6) == (answers, play.ready)
    assert {2} == {member.generation for member in play.pool.members}
