"""How many workers does the pool turn out to have room for?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from launcher.budget import MIB
from launcher.serving.pool.looks import WARM_REQUESTS, Milestone
from support.piloted import GROWTH, room_for, scene
from support.play import BOOT_S


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is closed at the end."""
    with ExitStack() as stack:
        yield stack


def test_a_pool_that_nobody_knows_grows_in_batches_of_what_is_there(stack: ExitStack) -> None:
    """One serves, then 2, 4 and 8; each batch is ready and looked at before the next."""
    one = scene(stack)
    seen: list[int] = []
    for _ in range(40):
        one.run(0.5)
        seen += [one.wanted] if [one.wanted] != seen[-1:] else []

    assert [1, 2, 4, 8] == seen
    assert one.play.ready == 8
    assert [2, 4, 8] == [facts["wanted"] for facts in one.said("pool_sized")]


def test_it_ends_where_the_memory_ends(stack: ExitStack) -> None:
    """Of eight that the CPUs would allow three fit: that is said with the sum."""
    one = scene(stack, replace(GROWTH, usable_bytes=room_for(3), memory=room_for(3)))

    assert one.run(30) == 3
    assert "3 fit in memory, where 8 would be allowed" == one.said("pool_sized")[-1]["because"]
    assert one.said("pool_sized")[-1]["sum"].endswith("= 3")


def test_one_that_does_not_fit_serves_and_it_is_said(stack: ExitStack) -> None:
    """Nobody is served by no worker."""
    one = scene(stack, replace(GROWTH, usable_bytes=100 * MIB, memory=100 * MIB))

    assert one.run(30) == 1
    assert "not one worker fits" in one.said("budget_doubtful")[0]["because"]


def test_a_batch_larger_than_foreseen_ends_the_growth(stack: ExitStack) -> None:
    """The second worker is twice the first: by that size two fit, so four are never started."""
    one = scene(stack, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.sizes = {102: 200}

    assert one.run(30) == 2
    assert one.play.most == 2


def test_a_batch_much_larger_than_foreseen_is_taken_back(stack: ExitStack) -> None:
    """Of two one has to go, and why is said."""
    one = scene(stack, replace(GROWTH, usable_bytes=room_for(2), memory=room_for(2)))
    one.sizes = {102: 190}

    assert one.run(30) == 1
    assert one.said("pool_sized")[-1]["because"].startswith("the workers have become larger than was foreseen: 1 fits")


def test_a_batch_within_what_was_foreseen_changes_nothing(stack: ExitStack) -> None:
    """A worker that is a fifth larger has grown into the room that was left for it."""
    one = scene(stack, sizes={102: 120})

    assert one.run(30) == 8


def test_after_traffic_the_pool_is_made_smaller(stack: ExitStack) -> None:
    """Eight seemed to fit; with 150 MiB each after their first requests five do."""
    one = scene(stack)
    assert one.run(30) == 8
    one.size = 150
    one.ask()

    assert one.run(30) == 5
    assert (8, 5) == (one.said("pool_sized")[-1]["before"], one.said("pool_sized")[-1]["wanted"])


def test_what_is_measured_is_provisional_until_all_had_requests(stack: ExitStack) -> None:
    """One warm worker is a reason to look, all of them for the last time."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(30)
    assert one.said("worker_measured")[-1]["provisional"]
    next(iter(one.play.pool.members)).slot.requests += WARM_REQUESTS
    one.run(5)
    assert (Milestone.ALL_WARM, True) == (one.pilot.milestone, one.said("worker_measured")[-1]["provisional"])
    one.ask()
    one.run(5)

    assert (Milestone.DONE, False) == (one.pilot.milestone, one.said("worker_measured")[-1]["provisional"])


def test_one_worker_may_get_all_the_traffic(stack: ExitStack) -> None:
    """With as many requests as all would need it stands for all."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(30)
    next(iter(one.play.pool.members)).slot.requests += 2 * WARM_REQUESTS
    one.run(10)

    assert (Milestone.DONE, False) == (one.pilot.milestone, one.said("worker_measured")[-1]["provisional"])


def test_an_idle_pool_is_measured_once(stack: ExitStack) -> None:
    """Without traffic and without a change nobody walks the pages of its workers again."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(30)
    before = len(one.read)
    one.run(3600)

    assert before == len(one.read)


@pytest.mark.parametrize("when_s", [BOOT_S / 2, BOOT_S + 5])
def test_whoever_scales_has_the_last_word(stack: ExitStack, when_s: float) -> None:
    """Before the first look and during the growth: three it is, also after traffic with larger workers."""
    one = scene(stack)
    one.run(when_s)
    one.play.pool.scale(3)
    one.run(30)
    one.size = 300
    one.ask()

    assert one.run(30) == 3
    assert [] == [facts for facts in one.said("pool_sized") if facts["wanted"] == 3]


def test_a_worker_that_dies_while_it_is_measured_is_looked_at_anew(stack: ExitStack) -> None:
    """Its last look is no measurement; when the worker after it serves there is a whole one."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.sizes = {101: None}
    one.run(BOOT_S + 0.1)
    one.play.kill(101)

    assert one.run(30) == 2
    assert 101 not in {facts["pid"] for facts in one.said("worker_measured")}


def test_a_kill_for_memory_while_it_grows_is_the_answer(stack: ExitStack) -> None:
    """Two were fine, of four the kernel kills one: it is two again, also after traffic."""
    one = scene(stack)
    one.run(BOOT_S * 2 + 1)
    assert one.wanted == 4
    one.play.run_out_of_memory(104)
    one.run(60)
    assert (2, 2) == (one.wanted, one.play.ready)
    assert one.said("pool_sized")[-1]["because"].startswith("the kernel killed a worker for memory")
    one.ask()

    assert one.run(30) == 2


def test_a_kill_for_memory_before_all_had_traffic(stack: ExitStack) -> None:
    """What is loaded with the first request was not in the measurement: half as many, and not more until a reload."""
    one = scene(stack, replace(GROWTH, most_workers=4))
    one.run(30)
    assert one.wanted == 4
    one.play.run_out_of_memory(102)
    one.run(30)
    assert one.wanted == 2
    one.ask()

    assert one.run(60) == 2


def test_more_than_a_pool_can_have_are_not_tried_for(stack: ExitStack) -> None:
    """Where the scoreboard ends the growth ends."""
    one = scene(stack, replace(GROWTH, most_workers=1000, usable_bytes=room_for(1000), memory=room_for(1000)))
    one.run(60)
    read = len(one.read)
    one.run(60)

    assert (128, read) == (one.wanted, len(one.read))


def test_where_nothing_can_be_read_the_guess_holds(stack: ExitStack) -> None:
    """A pool does not stay at one because the kernel does not tell its size."""
    one = scene(stack, size=None)

    assert one.run(30) == 3
    assert "cannot be read" in one.said("pool_sized")[0]["because"]


def test_the_most_that_a_worker_ever_had_counts(stack: ExitStack) -> None:
    """A peak of twice the size at its start needs the room at each start: half as many."""
    one = scene(stack, peak=100)

    assert one.run(30) == 5


def test_shared_memory_is_taken_from_the_room(stack: ExitStack) -> None:
    """250 MiB in /dev/shm are two workers fewer."""
    one = scene(stack, shmem=250 * MIB)

    assert one.run(30) == 6


def test_with_one_allowed_it_is_measured_and_not_more(stack: ExitStack) -> None:
    """There is nothing to choose."""
    one = scene(stack, replace(GROWTH, most_workers=1, is_pilot=False))

    assert one.run(30) == 1
    assert one.play.most == 1
    assert len(one.said("worker_measured")) == 1


def test_nobody_is_ready_against_more_than_is_wanted_now(stack: ExitStack) -> None:
    """Probes and systemd see one of one, later two of two."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(BOOT_S + 0.1)
    assert one.play.pool.board.wanted == 1
    one.run(30)

    assert one.play.pool.board.wanted == 2
