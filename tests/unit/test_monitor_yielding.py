"""Does a pool become smaller before the kernel kills, and large again when there is room?"""

from __future__ import annotations

import itertools
import os
import random
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from launcher.errors import ExitCode
from launcher.monitor.marks import Level
from launcher.monitor.recycling import PAUSE_S
from launcher.monitor.yielding import HOLDS_S, LONGEST_S, PATIENCE_S, Yielding
from support.memory_scene import MIB, Scene, always, leaks, made_room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.limits.room import Room
    from launcher.monitor.control import Outcome

GROUP = 1024  # MiB


def sizes_after(scene: Scene) -> list[int]:
    """Return how many workers there were to be, one after the other."""
    return [workers for _, _, workers in scene.resized]


def test_a_neighbour_grows_and_goes() -> None:
    """Where tmpfs takes what was free the pool becomes as small as need be, and large again a minute after."""
    scene = Scene(lambda _: always(120), workers=5, limit=None, old_s=600)
    scene.run_in_group(GROUP, lambda now: 100 if now < 20 or now > 120 else 500, 360)

    assert [4, 3, 4, 5] == sizes_after(scene)
    assert [] == scene.asked
    assert all(after - before >= PATIENCE_S for (before, _, _), (after, _, _) in pairwise(scene.resized[1:]))
    assert 0 == scene.given_up


def test_what_is_unshared_all_at_once() -> None:
    """Workers whose own memory grows while nobody leaks: 100 MiB a second, and the kernel has nothing to kill."""
    touched = itertools.count()
    at: dict[int, float] = {}

    def size(number: int) -> Callable[[float], float]:
        def own(age_s: float) -> float:
            if number not in at:
                at[number] = 5.0 + next(touched)
            return 13 if age_s < at[number] else 145

        return own

    scene = Scene(size, workers=5, resident=250, limit=None).run_in_group(GROUP - 224, 242, 120)

    assert scene.most_needed < (GROUP - 224) * MIB
    assert 1 <= scene.wanted < 5
    assert scene.most_in(PAUSE_S) <= 1


@pytest.mark.parametrize("drains_first", [False, True])
def test_a_leak_is_no_reason(drains_first: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Workers that leak 5 MiB a second each are recycled, and none is given up."""
    scene = Scene(lambda _: leaks(5), workers=4, limit=None, drains_first=drains_first).run_in_group(512, 60, 600)

    assert [] == scene.resized
    assert len(scene.asked) > 10
    assert scene.most_needed < 512 * MIB


def test_the_only_worker() -> None:
    """It is recycled when it has grown, and never given up."""
    grown = Scene(lambda number: leaks(3, 470) if number == 1 else always(30), workers=1, limit=None, drains_first=True)
    grown.run_in_group(512, 20, 300)
    large = Scene(lambda _: always(470), workers=1, limit=None).run_in_group(512, 20, 300)

    assert ([1], []) == ([number for _, number in grown.asked], grown.resized)
    assert ([], []) == (large.asked, large.resized)
    assert 1 == len(large.events("memory_exhausted"))


def test_a_full_pool_of_a_group() -> None:
    """One that stands above nine tenths because all are warm has one less from then on, and stays so."""
    warm = Scene(lambda _: lambda age_s: min(117, max(80, 80 + (age_s - 20) * 0.37)), workers=16, limit=None)
    warm.run_in_group(2048, 30, 3600)

    assert {"shrink"} == {what for _, what, _ in warm.resized}
    assert 13 <= warm.wanted <= 15
    assert warm.most_in(PAUSE_S) <= 1


def test_growing_back_too_early_is_paid_for() -> None:
    """Where there is room until a further worker comes, each next attempt waits twice as long, at most an hour."""
    scene = Scene(lambda _: always(100), workers=4, limit=None, old_s=600)
    scene.run_in_group(GROUP, lambda _: 620 if scene.wanted == 4 else 100, 12 * 3600)
    grown = [at for at, what, _ in scene.resized if what == "grow_back"]
    waits = [round(after - before) for before, after in pairwise(grown)]

    assert waits[0] < waits[1] < waits[2]
    assert LONGEST_S <= waits[-1] < LONGEST_S * 1.1
    assert {3, 4} == set(sizes_after(scene))


def test_a_growth_that_holds_is_forgiven() -> None:
    """After ten minutes with it the next one waits for a minute again."""
    scene = Scene(lambda _: always(120), workers=5, limit=None, old_s=600)

    def others(now: float) -> float:
        return 350 if 20 < now < 40 or 105 < now < 125 or 1200 < now < 1220 else 100

    scene.run_in_group(GROUP, others, 1500)
    grown = [at for at, what, _ in scene.resized if what == "grow_back"]

    assert [40 + PATIENCE_S, 125 + 2 * PATIENCE_S, 1220 + PATIENCE_S] == grown
    assert sizes_after(scene) == [4, 5] * 3


@pytest.mark.race
@pytest.mark.parametrize("old_s", [0, 300], ids=["young", "old"])
def test_a_sampler_that_always_screams(old_s: float) -> None:
    """A room that always says 99 %: at most one recycle a minute, at least one worker, and no way back."""
    seed = int(os.environ.get("MEMORY_SEED", "0")) or random.randrange(1, 10**6)  # noqa: S311 - no secret
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(seed)  # noqa: S311 - as above
    for _ in range(20):
        workers, takes_s, own = dice.randint(1, 12), dice.randint(1, 9), dice.uniform(10, 200)
        wobble = dice.choice([0.0, own * 0.1, own * 0.5])
        shape = [own + dice.uniform(0, wobble) for _ in range(997)]
        size = partial(lambda shape, number: always(shape[number % 997]), shape)
        drains_first = dice.random() < 0.5
        scene = Scene(size, workers, old_s=old_s, takes_s=takes_s, drains_first=drains_first, limit=None)
        scene.run_in(lambda: made_room(990, 1000), 900)

        assert scene.most_in(PAUSE_S) <= 1
        assert 1 == scene.wanted
        assert list(range(workers - 1, 0, -1)) == sizes_after(scene)
        assert 1 == len(scene.events("memory_exhausted")) <= len(scene.said)


@pytest.mark.race
def test_a_sampler_that_says_anything() -> None:
    """Whatever it says, there is at least one worker and never more than there were, and no quick swing."""
    seed = int(os.environ.get("MEMORY_SEED", "0")) or random.randrange(1, 10**6)  # noqa: S311 - no secret
    print("seed", seed)  # noqa: T201 - as above
    dice = random.Random(seed)  # noqa: S311 - as above
    for _ in range(10):
        scene = Scene(lambda _: always(50), workers=4, limit=None)
        lasts, part = 0, 500
        for _ in range(3600):
            if lasts <= 0:
                lasts, part = dice.randint(1, 200), dice.choice([200, 500, 850, 920, 960, 1200])
            lasts -= 1
            told = None if dice.random() < 0.01 else made_room(part, 1000)
            scene.run_in(partial(lambda room: room, told), 1)
        grown = [at for at, what, _ in scene.resized if what == "grow_back"]

        assert all(1 <= workers <= 4 for workers in sizes_after(scene))
        assert all(after - before >= PATIENCE_S for before, after in pairwise(grown))
        assert scene.most_in(PAUSE_S) <= 1


def asked_of(answers: list[int], given_up: int = 0) -> tuple[Yielding, list[Mapping[str, Any]], list[float]]:
    """Return one of a pool of three that answers so, what it was asked for, and the clock to set."""
    asked: list[Mapping[str, Any]] = []
    now = [1000.0]

    def ask(message: Mapping[str, Any], outcome: Outcome) -> None:
        asked.append(message)
        outcome(answers.pop(0), "")

    return Yielding(ask, lambda: 3, lambda: given_up, lambda: None, lambda: now[0]), asked, now


def test_a_pool_that_will_not() -> None:
    """A refused shrink is tried again after a moment."""
    yielding, asked, now = asked_of([int(ExitCode.USAGE)] * 3)
    for _ in range(15):
        yielding.shrink("it has to be")
        now[0] += 1

    assert [2, 2] == [one["workers"] for one in asked]
    assert {"ask": "shrink", "workers": 2, "pid": None, "because": "it has to be"} == asked[0]


@pytest.mark.parametrize(("given_up", "asks"), [(1, 10), (0, 0)])
def test_who_was_given_up_is_the_pools_to_know(given_up: int, asks: int) -> None:
    """A monitor takes back what the one before it has given up, and nobody asks for what is there."""
    yielding, asked, now = asked_of([0] * 20, given_up)
    for _ in range(int(HOLDS_S) + 10):
        now[0] += 1
        yielding.look([Level("a test", 10, 1 << 30, 1 << 29)])

    assert ["grow_back"] * asks == [one["ask"] for one in asked]


def test_a_limit_that_was_raised() -> None:
    """What was too much below the old one may well fit now: the next one waits a minute, not an hour."""
    scene = Scene(lambda _: always(100), workers=4, limit=None, old_s=600)
    low, high = (scene.room_of(limit, lambda _: 620 if scene.wanted == 4 else 100) for limit in (GROUP, 2 * GROUP))

    def read() -> Room:
        return high() if scene.now - scene.begun >= 3 * HOLDS_S else low()

    scene.run_in(read, int(4 * HOLDS_S))
    last = [at for at, what, _ in scene.resized if what == "grow_back"][-1]

    assert last <= 3 * HOLDS_S + 2 * PATIENCE_S
    assert 4 == scene.wanted
