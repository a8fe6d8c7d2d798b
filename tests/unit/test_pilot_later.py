"""What does a pool that has found its size make of what changes later?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from launcher.budget import MIB, Supply
from launcher.errors import ExitCode
from launcher.serving.pool.looks import WARM_REQUESTS
from support.piloted import GROWTH, room_for, scene, settled
from support.play import BOOT_S


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is closed at the end."""
    with ExitStack() as stack:
        yield stack


def test_a_reload_keeps_the_size_until_there_was_traffic(stack: ExitStack) -> None:
    """The new application is measured anew: smaller at first sight it is no reason for more, after requests it is."""
    one = scene(stack, replace(GROWTH, usable_bytes=room_for(3), memory=room_for(3)))
    assert one.run(30) == 3
    one.size = 50
    one.play.pool.reload()
    assert one.run(60) == 3
    assert one.said("worker_measured")[-1]["worker_bytes"] == 50 * MIB
    one.ask()

    assert one.run(30) == 5


def test_a_reload_during_the_growth_does_not_end_it(stack: ExitStack) -> None:
    """One that has not been measured yet is no size to keep."""
    one = scene(stack)
    one.run(BOOT_S / 2)
    one.play.pool.reload()

    assert one.run(60) == 8


def test_a_reload_to_something_larger_makes_the_pool_smaller(stack: ExitStack) -> None:
    """What does not fit before traffic will not fit after it."""
    one = scene(stack)
    one.run(30)
    one.size = 300
    one.play.pool.reload()

    assert one.run(90) == 2


def test_a_reload_takes_the_limit_of_now(stack: ExitStack) -> None:
    """What was lowered meanwhile holds for the new code: 80 % of 500 MiB are two workers."""
    one = settled(stack, 4, replace(GROWTH, memory=None))
    one.supply = Supply(500 * MIB, "lowered", True, 8, "", True, "container")  # noqa: FBT003 - as it is written
    assert one.run(30) == 4
    one.play.pool.reload()

    assert one.run(60) == 2
    assert "500 MiB (lowered)" in one.said("pool_sized")[-1]["sum"]


def test_what_comes_into_shared_memory_is_taken_from_the_workers(stack: ExitStack) -> None:
    """60 MiB in /dev/shm are half a worker: one goes within seconds, and comes again when the file has gone."""
    one = settled(stack, 4, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.shmem = 60 * MIB
    fewer = one.run(10)
    because = one.said("pool_sized")[-1]["because"]
    one.shmem = 0

    assert (3, 4) == (fewer, one.run(20))
    assert because == "60 MiB lie in shared memory (/dev/shm, tmpfs): 3 fit in memory, where 4 would be allowed"


def test_a_small_file_in_shared_memory_is_no_reason(stack: ExitStack) -> None:
    """What a library keeps there is not worth the start of a worker."""
    one = settled(stack, 4, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.shmem = 3 * MIB

    assert one.run(30) == 4


def test_workers_that_have_un_shared_are_measured_again_when_asked(stack: ExitStack) -> None:
    """Of four one has 200 MiB now: two of that size fit, the largest goes first, and why it was looked is said."""
    one = settled(stack, 4, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.sizes = {103: 200}
    answers: list[int] = []
    one.play.pool.remeasure("requests un-share the pages", lambda code, _: answers.append(code))

    assert one.run(10) == 2
    assert [0] == answers
    assert 103 not in one.play.workers
    assert one.said("pool_sized")[-1]["because"].startswith("requests un-share the pages: 2 fit")


def test_whoever_has_scaled_is_not_measured_again(stack: ExitStack) -> None:
    """The number is theirs."""
    one = settled(stack, 2)
    one.play.pool.scale(3)
    one.run(10)
    answers: list[int] = []
    one.play.pool.remeasure("requests un-share the pages", lambda code, _: answers.append(code))

    assert [ExitCode.USAGE] == answers
    assert one.run(10) == 3


def test_a_kill_for_memory_later_changes_no_size(stack: ExitStack) -> None:
    """All were measured after traffic: a worker that grew since is replaced."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(30)
    one.ask()
    one.run(30)
    one.ask()
    one.run(30)
    one.play.run_out_of_memory(102)

    assert one.run(30) == 2


def test_what_workers_have_of_shared_memory_goes_with_them(stack: ExitStack) -> None:
    """Each maps 40 MiB: with one worker fewer there is less of it, which is no reason to start that one again."""
    growth = replace(GROWTH, usable_bytes=room_for(4) + 70 * MIB, memory=room_for(4) + 70 * MIB)
    one = scene(stack, replace(growth, most_workers=4), mapped=40)
    one.run(30)
    one.ask(WARM_REQUESTS * 4)
    one.run(300)
    started = one.play.started
    one.run(300)

    assert started == one.play.started


def test_a_file_that_comes_and_goes_costs_a_worker_seldom(stack: ExitStack) -> None:
    """Sixty MiB that are there for five of each ten seconds, for ten minutes: it is waited longer each time."""
    one = settled(stack, 4, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    started = one.play.started
    for turn in range(120):
        one.shmem = 60 * MIB * (turn % 2)
        one.run(5)

    assert one.play.started - started <= 6


def test_shared_memory_that_cannot_be_read_is_not_gone(stack: ExitStack) -> None:
    """The sum stays as it is until it can be."""
    one = settled(stack, 4, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.shmem = 60 * MIB
    assert one.run(10) == 3
    one.shmem = None

    assert one.run(60) == 3


def test_a_pool_that_stops_measures_no_more(stack: ExitStack) -> None:
    """Who has asked for it is told."""
    one = settled(stack, 2)
    answers: list[int] = []
    one.play.pool.recycle(101, "asked")
    one.run(0.1)
    one.play.pool.remeasure("requests un-share the pages", lambda code, _: answers.append(code))
    one.play.pool.stop("SIGTERM")
    one.run(5)

    assert [ExitCode.BUG] == answers
