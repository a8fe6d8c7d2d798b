"""What does a pool that finds its size make of workers that the monitor has it give up?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from launcher.budget import MIB
from launcher.errors import ExitCode
from support.piloted import GROWTH, Scene, room_for, scene, settled
from support.play import BOOT_S

FOUR = replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is closed at the end."""
    with ExitStack() as stack:
        yield stack


def shrunk(one: Scene, workers: int) -> None:
    """Let the monitor find that there is no room for more."""
    one.play.pool.size.shrink(one.play.pool, workers, None, "pressed", lambda *_: None)


def grown_back(one: Scene, *, times: int = 1) -> list[tuple[int, str]]:
    """Let it find room again; return the answers that there are after a while."""
    answers: list[tuple[int, str]] = []
    for _ in range(times):
        one.play.pool.size.grow_back(one.play.pool, "fits", lambda code, because: answers.append((code, because)))
        one.run(5)
    return answers


def pressed_while_it_grows(stack: ExitStack, workers: int = 3) -> Scene:
    """Return a pool that had become one of four, of the eight that fit, when there was no room."""
    one = scene(stack)
    one.run(BOOT_S * 2 + 1)
    assert one.wanted == 4
    shrunk(one, workers)
    one.run(30)
    return one


def test_the_pilot_takes_nobody_back(stack: ExitStack) -> None:
    """While the pool grows the monitor finds that the limit is near: no look makes it larger, after traffic neither."""
    one = pressed_while_it_grows(stack)
    before = one.play.ready
    one.ask()
    one.run(30)
    one.ask()

    assert (3, 3) == (before, one.run(30))


def test_the_growth_goes_on_when_there_is_room_again(stack: ExitStack) -> None:
    """What ended it for a moment is over with the last one that is taken back; why it goes on is said."""
    one = pressed_while_it_grows(stack, 2)
    first = grown_back(one), one.run(30)
    second = grown_back(one)

    assert ([(0, "")], 3) == first
    assert ([(0, "")], 8) == (second, one.run(30))
    assert one.said("pool_sized")[-1]["because"].startswith("there is room again: 8 fit")


def test_a_pool_that_is_as_large_as_it_may_be_is_not_measured_again(stack: ExitStack) -> None:
    """It was settled, and is again."""
    one = settled(stack, 4, FOUR)
    shrunk(one, 3)
    one.run(5)
    before = len(one.read)
    grown_back(one)

    assert (4, before) == (one.run(60), len(one.read))


def test_a_kill_for_memory_is_remembered_when_there_is_room_again(stack: ExitStack) -> None:
    """The batch that was too much is not tried again: of four two stay, one is given up, and there are two again."""
    one = scene(stack)
    one.run(BOOT_S * 2 + 1)
    assert one.wanted == 4
    one.play.run_out_of_memory(max(one.play.workers))
    one.run(30)
    shrunk(one, 1)
    one.run(10)
    answers = grown_back(one, times=2)

    assert ([0, ExitCode.USAGE], 2) == ([code for code, _ in answers], one.run(60))


def test_a_kill_after_a_shrink_is_answered_with_fewer(stack: ExitStack) -> None:
    """The batch has gone already: as many as there were before it were too many."""
    one = scene(stack)
    one.run(BOOT_S * 2 + 1)
    assert one.wanted == 4
    shrunk(one, 2)
    one.play.run_out_of_memory(101)

    assert 1 == one.run(30)
    assert 1 == one.play.pool.size.given_up


def test_what_does_not_fit_is_given_up_for_good(stack: ExitStack) -> None:
    """Of four two were given up; by what is measured then one fits: of the two that were missing one is missing."""
    one = settled(stack, 4, FOUR)
    shrunk(one, 2)
    one.run(10)
    one.sizes = dict.fromkeys(one.play.workers, 300)
    one.play.pool.remeasure("un-shared", lambda *_: None)

    assert (1, 1) == (one.run(10), one.play.pool.size.given_up)


def test_nobody_is_taken_back_who_does_not_fit(stack: ExitStack) -> None:
    """By the last sum there is room for three, and three there are: nobody is missing, and that is answered."""
    one = settled(stack, 4, FOUR)
    shrunk(one, 3)
    one.run(5)
    one.shmem = 60 * MIB
    one.run(10)
    answers = grown_back(one, times=2)

    assert 3 == one.run(10)
    assert [
        (ExitCode.USAGE, "by what the workers were measured at no more than 3 fit"),
        (ExitCode.USAGE, "no worker was given up for want of memory"),
    ] == answers
    assert 0 == one.play.pool.board.given_up


def test_after_another_change_there_are_as_many_as_fit(stack: ExitStack) -> None:
    """Four became three for pressure, and two for a file: with the file gone nobody is missing for pressure either."""
    one = settled(stack, 4, FOUR)
    shrunk(one, 3)
    one.run(5)
    one.shmem = 180 * MIB
    one.run(10)
    fewer, one.shmem = one.play.ready, 0

    assert (2, 4) == (fewer, one.run(60))


def test_a_reload_finds_the_number_anew(stack: ExitStack) -> None:
    """Nobody is missing of the new code: after its traffic there are as many as fit."""
    one = settled(stack, 4, FOUR)
    shrunk(one, 3)
    one.run(5)
    one.play.pool.reload()
    kept = one.run(60)
    given_up = one.play.pool.size.given_up
    one.ask()

    assert (3, 0) == (kept, given_up)
    assert 4 == one.run(30)


def test_a_reload_that_failed_changes_nothing(stack: ExitStack) -> None:
    """The old code is there still, and so is the reason why one is missing."""
    one = settled(stack, 4, FOUR)
    shrunk(one, 3)
    one.run(5)
    one.play.boots = False
    one.play.pool.reload()
    one.run(60)
    one.play.boots = True
    one.ask()

    assert (3, 1) == (one.run(60), one.play.pool.size.given_up)


def test_of_a_number_that_was_said_all_are_taken_back(stack: ExitStack) -> None:
    """Whoever scales has the last word: what the pilot has measured is no reason against it."""
    one = settled(stack, 2, replace(GROWTH, usable_bytes=room_for(2), memory=room_for(2)))
    one.play.pool.scale(4)
    one.run(10)
    shrunk(one, 3)
    one.run(10)
    answers = grown_back(one)

    assert ([(0, "")], 4) == (answers, one.run(10))


def test_a_size_that_is_come_back_to_is_the_pilots_again(stack: ExitStack) -> None:
    """A reload said another number, and has failed: nobody has said one."""
    one = settled(stack, 4, FOUR)
    pool = one.play.pool
    before = pool.size.standing(pool)
    pool.scale(2)
    pool.size.restore(pool, before)
    one.run(10)
    one.shmem = 60 * MIB

    assert 3 == one.run(10)
