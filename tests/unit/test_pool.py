"""What happens to the pool next?

The machine of states against workers that are played: processes, clock and signals are lists and numbers, so that an
hour of misfortune passes in a second and is the same for the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from launcher.errors import ExitCode, LauncherError
from launcher.serving.rules import Rules
from support.play import BOOT_S, Play, playing

pytestmark = pytest.mark.race


@pytest.fixture
def play() -> Iterator[Play]:
    """A pool of four, ready."""
    with playing() as play:
        yield play


def test_a_failed_replacement_leaves_the_others_alone(play: Play) -> None:
    """With three of four ready a replacement may fail for an hour: few starts, no end, and all four at last."""
    play.boots = False
    play.kill(101)
    play.run(3600)
    started = play.started

    assert play.ready == 3
    assert started < 4 + 3600 / 15
    play.boots = True
    play.run(60)
    assert (play.ready, play.pool.outcome) == (4, None)


def test_a_reload_replaces_one_at_a_time(play: Play) -> None:
    """All four are new in the end, and there were never more than five."""
    answers: list[int] = []
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(60)

    assert answers == [0]
    assert {member.generation for member in play.pool.members} == {2}
    assert (play.ready, play.most) == (4, 5)


def test_a_reload_of_broken_code_keeps_the_old(play: Play) -> None:
    """The first worker that cannot boot ends it; the same four serve, and the answer is not 0."""
    before = set(play.workers)
    answers: list[int] = []
    play.boots = False
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(60)

    assert answers == [ExitCode.NEVER_READY]
    assert set(play.workers) == before


def test_a_reload_of_a_broken_configuration_starts_nothing(play: Play) -> None:
    """It is known before any worker is touched."""
    play.loads = False
    answers: list[tuple[int, str]] = []
    play.pool.reload(lambda code, because: answers.append((code, because)))
    play.run(60)

    assert answers == [(3, "the new configuration cannot be used: no such worker class")]
    assert play.started == 4


def test_a_reload_with_nobody_left_waits_for_somebody(play: Play) -> None:
    """All are dead and the pool pauses: a reload ends the pause, and is done when a worker of the new code is ready."""
    play.boots = False
    for pid in list(play.workers):
        play.kill(pid)
    play.run(0.8)
    play.boots = True
    play.pool.restarts.not_before = play.now + 30
    answers: list[tuple[int, float]] = []
    asked = play.now
    play.pool.reload(lambda code, _: answers.append((code, play.now - asked)))
    play.run(20)

    assert [code for code, _ in answers] == [0]
    assert BOOT_S <= answers[0][1] < 2 * BOOT_S + 1


def test_a_reload_during_a_reload_is_done_after_it(play: Play) -> None:
    """The code may have changed once more: nobody is left with what was read in the middle."""
    answers: list[int] = []
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(3)
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(120)

    assert answers == [0, 0]
    assert {member.generation for member in play.pool.members} == {3}


def test_everybody_who_asks_is_answered(play: Play) -> None:
    """Asked for twice, or dropped at a stop: nobody waits for ever."""
    codes: list[int] = []
    for _ in range(2):
        play.pool.recycle(101, "asked", lambda code, _: codes.append(code))
    play.run(20)
    for _ in range(3):
        play.pool.reload(lambda code, _: codes.append(code))
    play.pool.stop("SIGTERM")

    assert codes == [0, 0, 1, 1, 1]


def test_a_reload_keeps_the_scaled_size(play: Play) -> None:
    """Six were asked for, six there are."""
    play.pool.scale(6)
    play.run(30)
    play.pool.reload()
    play.run(120)

    assert play.ready == 6


def test_scaling_down_retires_the_oldest(play: Play) -> None:
    """Two leave, as asked; the younger two stay."""
    answers: list[int] = []
    play.pool.scale(2, lambda code, _: answers.append(code))
    play.run(30)

    assert sorted(play.workers) == [103, 104]
    assert answers == [0]


def test_a_hung_boot_ends_the_reload(play: Play) -> None:
    """After the startup timeout the new worker is killed, and the old ones go on."""
    before = set(play.workers)
    play.hangs = True
    answers: list[int] = []
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(130)

    assert answers == [ExitCode.NEVER_READY]
    assert set(play.workers) == before


def test_nobody_is_blamed_for_a_frozen_host(play: Play) -> None:
    """Ten minutes in which nothing ran, our loop neither: no worker is killed for its old heartbeat."""
    before = set(play.workers)
    play.now += 600
    play.pool.step()
    play.run(60)

    assert set(play.workers) == before


def test_replacing_asks_whether_workers_can_be_started(play: Play) -> None:
    """While what they are started from is not there, no replacement is started."""
    play.startable = False
    play.pool.recycle(101, "asked")
    play.run(20)

    assert 4 == play.started
    play.startable = True
    play.run(20)
    assert 101 not in play.workers


def test_what_new_workers_need_is_lost_during_a_reload(play: Play) -> None:
    """The preloaded application cannot be had any more: the reload has failed, the old workers go on."""
    before = set(play.workers)
    answers: list[int] = []
    play.pool.reload(lambda code, _: answers.append(code))
    play.startable = LauncherError("the application could not be imported")
    play.run(20)

    assert [ExitCode.NEVER_READY] == answers
    assert before == set(play.workers)


def test_an_old_worker_dies_while_broken_code_boots(play: Play) -> None:
    """It was not replaced: the reload has failed, the old configuration is kept, and the gap is filled."""
    answers: list[int] = []
    play.boots = False
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(0.2)
    play.kill(101)
    play.run(0.3)
    play.boots = True
    play.run(20)

    assert ([ExitCode.NEVER_READY], ["old"]) == (answers, play.kept)
    assert (4, 5) == (play.ready, play.most)


def test_an_old_worker_dies_while_good_code_boots(play: Play) -> None:
    """Its replacement takes its place, and nobody too many is started."""
    answers: list[int] = []
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(0.5)
    play.kill(101)
    play.run(60)

    assert ([0], ["new"]) == (answers, play.kept)
    assert (4, 8, 5) == (play.ready, play.started, play.most)


def misfortune(play: Play, luck: random.Random) -> None:
    """Let something happen."""
    match luck.choice(["reload", "scale", "scale", "kill", "recycle", "time", "boots"]):
        case "reload":
            play.pool.reload()
        case "scale":
            play.pool.scale(play.pool.wanted + luck.choice([-1, 1]))
        case "kill" if play.workers and (play.boots or play.ready > 1):  # all dead, and none that boots: that is 70
            play.kill(luck.choice(list(play.workers)))
        case "recycle" if play.workers:
            play.pool.recycle(luck.choice(list(play.workers)), "luck")
        case "boots":
            play.boots = luck.random() < 0.8
        case _:
            pass


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_it_ends_at_the_wanted_size(play: Play, seed: int) -> None:
    """After two hundred reloads, scalings, recyclings and kills at random: the wanted number, ready, and no more."""
    luck = random.Random(seed)  # noqa: S311 - a play
    play.pool.adopt(Rules(workers=4, graceful_timeout_s=8, restart_intensity=10**6))
    for _ in range(200):
        misfortune(play, luck)
        play.run(luck.uniform(0, 4))
        play.boots = play.boots or play.ready < 2
    play.boots = True
    play.run(900)

    assert play.pool.outcome is None
    assert (play.ready, len(play.workers)) == (play.pool.wanted, play.pool.wanted)
    assert not play.pool.rolling.busy
