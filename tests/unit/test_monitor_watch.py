"""Is a worker that grows too large recycled, and none without use?"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from launcher.errors import ExitCode
from launcher.monitor.processes import Processes
from launcher.monitor.recycling import PAUSE_S
from launcher.monitor.watch import CALM_S
from launcher.monitor.watched import LOOKS, Ready, Relief, Watched
from launcher.monitor.weighing import ProcessSizes, processes_of, ready_workers
from launcher.scoreboard import Board, Stage
from support.memory_scene import FRESH, LIMIT, MIB, Scene, Size, always, leaks


def test_a_worker_that_leaks_is_recycled() -> None:
    """It is asked for at the third look above the limit, and said with what it had."""
    scene = Scene(lambda number: leaks(10) if number == 1 else always(FRESH), old_s=0).run(60)

    assert [(10 + LOOKS - 1, 1)] == scene.asked
    assert [(1, 150 * MIB, LIMIT * MIB)] == [
        (said["pid"], said["private_bytes"], said["limit_bytes"]) for said in scene.events("worker_oversized")
    ]


def test_a_moment_above_the_limit_is_none() -> None:
    """Two looks above it, as of a large answer, are no reason."""
    scene = Scene(lambda _: lambda age_s: 200 if int(age_s) % 5 in {0, 1} else FRESH).run(60)

    assert [] == scene.asked


def test_the_largest_comes_first_and_one_at_a_time() -> None:
    """Of three that leak, the one with the most; the next when the outcome is known, without a pause."""
    scene = Scene(lambda number: leaks(number) if number < 4 else always(FRESH), workers=3, takes_s=5, old_s=200).run(
        30
    )
    recycled = [number for _, number in scene.asked]

    assert [3, 2, 1] == recycled
    assert [3, 8, 13] == [at for at, _ in scene.asked]


def test_a_fast_leak_of_all_is_kept_up_with() -> None:
    """Where each new worker leaks as the old ones did, the minute's pause is not for it: memory stays bounded."""
    scene, most = Scene(lambda _: leaks(25), takes_s=2, old_s=11), 0.0
    scene.born = dict.fromkeys(scene.born, scene.now)
    for _ in range(300):
        scene.run(1)
        most = max(most, *(leaks(25)(scene.now - since) or 0 for since in scene.born.values()))

    assert len(scene.asked) > 40
    assert most < 500


def test_what_is_shared_does_not_count() -> None:
    """Above the limit by the cheap figure only: never recycled, and its pages are walked seldom."""
    scene = Scene(lambda _: always(FRESH), shared=250).run(100)

    assert [] == scene.asked
    assert scene.walks <= 2 * (100 / 10 + 3)


def test_without_anybody_above_nothing_is_walked() -> None:
    """But twice for each worker: when it is met, and when it has loaded what it loads late."""
    assert Scene(lambda _: always(FRESH)).run(100).walks == 4


@pytest.mark.parametrize("old_s", [0, 100], ids=["young", "old"])
def test_a_sampler_that_always_screams(old_s: float) -> None:
    """Of readings that have nothing to do with the workers comes at most one recycle a minute."""
    scene = Scene(lambda _: always(FRESH), screams=True, old_s=old_s, workers=4).run(600)

    assert scene.most_in(PAUSE_S) == 1
    assert 5 <= len(scene.asked) <= 10


def test_a_limit_below_what_a_fresh_worker_needs() -> None:
    """It is said once, and nobody is recycled for it."""
    scene = Scene(lambda _: always(LIMIT + 30), workers=3).run(600)
    (doubtful,) = scene.events("worker_limit_doubtful")

    assert [] == scene.asked
    assert {"private_bytes": (LIMIT + 30) * MIB, "limit_bytes": LIMIT * MIB, "age_s": 10.0} == {
        name: doubtful[name] for name in ("private_bytes", "limit_bytes", "age_s")
    }


def test_a_limit_below_what_is_loaded_late() -> None:
    """What the first requests load is no leak, however it looks meanwhile: one is tried, and no storm follows."""
    scene = Scene(lambda _: lambda age_s: FRESH if age_s < 2 else min(300, 100 + 30 * (age_s - 2)), workers=3).run(900)

    assert len(scene.asked) <= 3
    assert len(scene.events("worker_limit_doubtful")) == 1


def test_old_workers_of_a_new_monitor() -> None:
    """What they had when they were new is not known: one a minute is tried, until all are of our time."""
    scene = Scene(lambda _: always(LIMIT + 30), workers=3, old_s=3600).run(600)

    assert len(scene.asked) == 3
    assert scene.most_in(PAUSE_S) == 1


def test_a_worker_that_dies_meanwhile() -> None:
    """Whoever ends before its turn is nobody's business any more; the next one is recycled as if nothing had been."""
    scene = Scene(lambda number: leaks(number) if number < 3 else always(FRESH), old_s=200, takes_s=3).run(4)
    scene.dies(2)
    scene.answer = (int(ExitCode.OK), "it was gone already")
    scene.run(30)

    assert [2, 1] == [number for _, number in scene.asked]


def test_an_ask_that_is_refused() -> None:
    """The pool that will not now is asked again after a moment, not each second."""
    scene = Scene(lambda _: leaks(5), workers=1, old_s=60, answer=(int(ExitCode.USAGE), "leaving")).run(60)

    assert 3 <= len(scene.asked) <= 6


def test_nobody_answers() -> None:
    """As long as the outcome is open nothing else is asked for."""
    scene = Scene(lambda _: leaks(5), workers=4, old_s=60, answer=None).run(600)

    assert len(scene.asked) == 1


def test_a_worker_that_cannot_be_read() -> None:
    """One that is gone for /proc is left alone."""
    scene = Scene(lambda _: lambda _: None).run(30)

    assert ([], []) == (scene.asked, scene.said)


def test_the_pools_relief() -> None:
    """The largest is recycled when it is larger than the smallest, though it has no limit of its own."""
    scene = Scene(lambda number: always(60 if number == 2 else 40), workers=3, limit=None).run(20)
    said = scene.watch.relieve(math.inf, is_short=True)
    scene.run(5)

    assert (Relief("worker 2 is recycled", is_enough=True), [2]) == (said, [number for _, number in scene.asked])
    assert "equally large" in scene.watch.relieve(math.inf, is_short=True).because
    assert not scene.watch.relieve(math.inf, is_short=True).is_enough


def test_one_that_is_new_is_no_measure() -> None:
    """That it has not loaded yet what all load does not make the others larger than they need to be."""
    scene = Scene(lambda number: always(60 if number < 3 else FRESH), old_s=100, limit=None).run(5)
    scene.born[3] = scene.now - 3
    young = scene.run(1).watch.relieve(math.inf, is_short=True).because
    scene.run(10)

    assert "equally large" in young
    assert "is recycled" in scene.watch.relieve(math.inf, is_short=True).because


@pytest.mark.parametrize(
    ("size", "said"),
    [(leaks(3, 90), "is recycled"), (always(60), "equally large"), (lambda _: None, "no worker")],
    ids=["grown alike", "alike", "gone"],
)
def test_when_the_largest_is_to_blame(size: Size, said: str) -> None:
    """Workers that have grown alike are larger than when they were new."""
    scene = Scene(lambda _: size, limit=None).run(200)

    assert said in scene.watch.relieve(math.inf, is_short=True).because


def test_relief_that_frees_nothing_waits_for_a_minute() -> None:
    """A successor that is as large as the one before it was no relief."""
    scene = Scene(lambda number: always(60 if number == 1 else 40), limit=None).run(20)
    scene.watch.relieve(math.inf, is_short=True)
    under_way = scene.run(1).watch.relieve(math.inf, is_short=True)
    scene.size = lambda _: always(60)
    scene.run(5)

    assert Relief("a worker is being recycled", is_enough=True, for_s=1.0) == under_way
    assert "less than predicted" in scene.watch.relieve(math.inf, is_short=True).because


@pytest.mark.parametrize(
    ("workers", "limit", "base", "shared", "size"),
    [
        (16, 2048, 30, 5, lambda age_s: 80 if age_s < 20 else min(117, 80 + (age_s - 20) * 0.37)),
        (12, 1150, 350, 250, lambda age_s: min(60, 12 + age_s * 0.8)),
    ],
    ids=["warm after minutes", "preloaded"],
)
def test_a_full_pool_that_serves_well(workers: int, limit: int, base: int, shared: int, size: Size) -> None:
    """Of a pool that stands above nine tenths without a leak a few are tried, then it is left alone for long."""
    scene = Scene(lambda _: size, workers=workers, shared=shared, limit=None, flutter=lambda now: 8 * (now % 20 > 16))
    scene.run_in(scene.room_of(limit, base, is_limited=False), 3600)

    assert 1 <= len(scene.asked) <= 12
    assert scene.most_in(PAUSE_S) == 1
    assert scene.most_in(CALM_S) <= 3


def test_a_leak_in_a_group() -> None:
    """Two workers that leak 50 MB/s together never have all the 512 MiB."""
    scene = Scene(lambda _: leaks(25), limit=None).run_in_group(512, 60, 300)

    assert scene.most_needed < 512 * MIB
    assert [] == scene.resized


def test_what_is_held_against_what_it_was() -> None:
    """What a fork shares is in the cheap figure at the start, too: 4 MiB more of 262 are no leak, 60 more are."""
    worker = Watched(Ready(1, 2, 0.0), born_bytes=12 * MIB, born_cheap_bytes=262 * MIB)
    for requests, mib in enumerate((262, 263, 264, 265, 265, 266)):
        worker.seen(mib * MIB, requests, 14.0)
    is_leak = worker.leaks(14.0)
    for requests, mib in enumerate((310, 315, 322), 6):
        worker.seen(mib * MIB, requests, 14.0)

    assert (False, True) == (is_leak, worker.leaks(14.0))


@pytest.mark.parametrize(
    ("per_s", "booting", "age_s", "asked"),
    [(0, 0, 60, 0), (5, 0, 60, 1), (5, 200, 60, 0), (5, 0, 1, 0)],
    ids=["nobody grows", "one grows", "one boots", "one is young"],
)
def test_in_haste_only_for_who_serves(per_s: float, booting: float, age_s: float, asked: int) -> None:
    """What those take that boot is no leak of the others, however fast the group comes near its limit."""
    first = leaks(per_s) if per_s else always(3 * FRESH)
    scene = Scene(lambda number: first if number == 1 else always(FRESH), old_s=60, limit=None).run(10)
    scene.booting, scene.born[3] = booting, scene.now + 1 - age_s
    scene.run(1).watch.relieve(2.0, is_short=False)

    assert asked == len(scene.asked)


def test_a_limit_a_little_below_what_all_come_to() -> None:
    """When three successors have soon been above it, it is said, once, and one a minute is recycled from then on."""
    scene = Scene(lambda _: lambda age_s: min(144, 24 + 6 * age_s), workers=4).run(1200)
    (doubtful,) = scene.events("worker_limit_doubtful")
    late = [at for at, _ in scene.asked if at > 120]

    assert "3 new workers in a row" in doubtful["because"]
    assert all(after - before >= PAUSE_S for before, after in pairwise(late))
    assert len(late) > 10


def test_who_serves() -> None:
    """Of the scoreboard those that are ready, or boot, and are not asked to leave, by number."""
    board = Board.create()
    for index, (stage, asked) in enumerate(
        [(Stage.READY, 0), (Stage.READY, 1), (Stage.LIFESPAN, 0), (Stage.READY, 0), (Stage.READY, 0)]
    ):
        slot = board.slot(index)
        slot.clear(generation=1, number=index + 1)
        slot.pid, slot.asked = 100 + index, asked
        slot.stage = stage
    found = ready_workers(board, 104)()
    os.close(board.fd)

    assert [(1, 100, False), (3, 102, True), (4, 103, False)] == [(one.number, one.pid, one.boots) for one in found]


def test_who_is_there_for_good() -> None:
    """Ourselves, our children, and of the workers those that serve and stay; who boots or leaves is so for a while."""
    board = Board.create()
    for index, (stage, asked) in enumerate([(Stage.READY, 0), (Stage.READY, 1), (Stage.LIFESPAN, 0), (Stage.EMPTY, 0)]):
        slot = board.slot(index)
        slot.clear(generation=1, number=index + 1)
        slot.pid, slot.asked = 10**8 + index, asked
        slot.stage = stage
    found = processes_of(board, os.getpid(), os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        there = found()
        child.communicate(b"\n")
    board.slot(0).pid = child.pid
    board.slot(0).asked = 1
    os.close(board.fd)

    assert {os.getpid(), child.pid, 10**8} <= there
    assert set() == {child.pid, 10**8 + 1, 10**8 + 2, 0} & (there - {child.pid} | found())


def test_our_own_size() -> None:
    """Both figures are of the same process; the exact one is at most the cheap one and a little for the kernel."""
    sizes = ProcessSizes(Processes())
    cheap, own = sizes.cheap(os.getpid()), sizes.own(os.getpid())

    assert cheap is not None
    assert own is not None
    assert 0.3 * cheap < own < cheap + 32 * MIB
    assert (None, None) == (sizes.cheap(2**22 + 1), sizes.own(2**22 + 1))
