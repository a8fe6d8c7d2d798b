"""Is a worker that needs much for a moment told from one that leaks, and one that leaks found among many?"""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass, field

import pytest

from support.memory_scene import MIB, Scene, Size, always, leaks

GROUP = 1024  # MiB
OWN = 100


@dataclass
class Spiking(Scene):
    """Workers of which each in turn needs much more, so that the group needs this part, for `lasts_s` of `every_s`."""

    part: float = 0.0
    every_s: int = 15
    lasts_s: int = 3

    def _size(self, pid: int) -> float | None:
        size, turn = super()._size(pid), int(self.now - self.begun)
        its = sorted(self.born)[turn // self.every_s % len(self.born)] if self.born else 0
        if size is None or pid != its or turn % self.every_s >= self.lasts_s:
            return size
        return size + GROUP * self.part - OWN * self.workers


@pytest.mark.parametrize(
    ("every_s", "lasts_s", "part"), [(15, 1, 0.93), (15, 2, 0.93), (15, 3, 0.9), (60, 1, 0.93), (30, 3, 0.9)]
)
def test_what_requests_need_for_a_moment(every_s: int, lasts_s: int, part: float) -> None:
    """In an hour of spikes hardly a worker is recycled: at most one less, and there is room for them."""
    scene = Spiking(lambda _: always(OWN), workers=4, limit=None, old_s=600)
    scene.every_s, scene.lasts_s, scene.part = every_s, lasts_s, part
    scene.run_in_group(GROUP, 30, 3600)

    assert len(scene.asked) <= 2
    assert scene.wanted >= 3


def loads(at_s: float, per_s: float, most: float) -> Size:
    """Return the size of a worker that loads so many MiB from some age on."""
    return lambda age_s: 30 + min(most, max(0, (age_s - at_s) * per_s))


@pytest.mark.parametrize("at_s", [1.4, 20.7])
@pytest.mark.parametrize("per_s", [50, 100, 200, 300])
@pytest.mark.parametrize("most", [400, 600, 780])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("with_others", [True, False])
def test_a_model_that_is_loaded_late(
    at_s: float, per_s: float, most: float, workers: int, *, with_others: bool
) -> None:
    """Nobody is recycled for it, whether or not others are answered meanwhile: the next one would load it again."""
    size = most / workers

    def in_flight_s(age_s: float) -> list[float]:
        return [age_s, *([age_s - at_s] if at_s < age_s < at_s + size / per_s else [])]

    scene = Scene(lambda _: loads(at_s, per_s, size), workers=workers, limit=None, drains_first=True)
    scene.per_s = 10.0 if with_others else 0.0
    scene.in_flight_s = in_flight_s if with_others else (lambda _: ())
    scene.run_in_group(GROUP, 0, 300)

    assert [] == scene.asked
    assert most > 600 or [] == scene.resized  # above three quarters of the limit there may be one less meanwhile


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("per_s", [2.0, 5.0, 10.0, 25.0])
@pytest.mark.parametrize(
    ("in_flight", "answered"),
    [([3600.0], 10), ([0.1, 0.6], 10), ([0.5, 1.5, 2.5], 10), ([], 10), ([math.inf], 0)],
    ids=["stream", "quick", "slow", "none", "WebSocket"],
)
def test_a_leak_beside_other_requests(workers: int, per_s: float, in_flight: list[float], answered: float) -> None:
    """Streams that are open for hours, and slow requests, are not what a worker loads for: its leak is kept up with."""
    scene = Scene(lambda _: leaks(per_s), workers=workers, limit=None, drains_first=True)
    scene.in_flight_s, scene.per_s = lambda _: in_flight, answered
    scene.run_in_group(GROUP, 60, 600)

    assert scene.most_needed < GROUP * MIB


@dataclass
class Stepping(Scene):
    """Workers of which a random one has a request now and then that leaks much while it lasts."""

    each_mib: float = 0.0
    lasts_s: float = 1.0
    every_s: float = 1.0
    seed: int = 0
    leaked: dict[int, float] = field(default_factory=dict)
    under_way: list[tuple[int, float]] = field(default_factory=list)  # number, since when
    due: float = 0.0

    def __post_init__(self) -> None:
        """Begin without a request."""
        super().__post_init__()
        self.dice = random.Random(self.seed)  # noqa: S311 - no secret
        self.size = lambda number: lambda _: OWN + self.leaked.get(number, 0.0)
        self.watch.in_flight_s = lambda pid: [self.now - since for number, since in self.under_way if number == pid]

    def run(self, seconds: int) -> Scene:
        """Let whole seconds pass."""
        for _ in range(seconds):
            if self.now >= self.due:
                self.due = self.now + self.every_s
                self.under_way.append((self.dice.choice(sorted(self.born)), self.now))
            self.under_way = [one for one in self.under_way if self.now - one[1] < self.lasts_s and one[0] in self.born]
            for number, _since in self.under_way:
                self.leaked[number] = self.leaked.get(number, 0.0) + self.each_mib / self.lasts_s
            super().run(1)
        return self


@pytest.mark.race
@pytest.mark.parametrize("leak", [(60, 3, 5), (20, 3, 5), (60, 6, 8), (40, 1, 5), (60, 3, 30)])
@pytest.mark.parametrize("workers", [1, 2, 6])
def test_few_large_requests_that_leak(workers: int, leak: tuple[float, float, float]) -> None:
    """What grows in steps, each while a request is under way, and never gives any back leaks, too: nobody is killed."""
    seed = int(os.environ.get("MEMORY_SEED", "0")) or random.randrange(1, 10**6)  # noqa: S311 - no secret
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    scene = Stepping(lambda _: always(OWN), workers=workers, limit=None, old_s=60, per_s=0.2, seed=seed)
    scene.each_mib, scene.lasts_s, scene.every_s = leak
    scene.run_in_group(GROUP, 40, 900)

    assert scene.most_needed < GROUP * MIB
    assert len(scene.asked) >= 2


class Costly(Scene):
    """One in which to walk the pages of a worker takes 12 ms."""

    def own(self, pid: int) -> int | None:
        """Walk them."""
        self.now += 0.012
        return super().own(pid)

    def run(self, seconds: int) -> Scene:
        """Let whole seconds pass."""
        for _ in range(seconds):
            self.now = float(int(self.now))
            super().run(1)
        return self


@pytest.mark.parametrize(("workers", "leaky"), [(16, 16), (32, 20), (64, 64)])
@pytest.mark.parametrize("old_s", [0, 600], ids=["young", "old"])
def test_one_of_many(workers: int, leaky: int, old_s: float) -> None:
    """There is no time to walk all of them: the one that has leaked for a quarter of an hour is found all the same."""
    all_of_them, more = workers * OWN + 50, workers * OWN * 0.12

    def size(number: int) -> Size:
        per_s = more / 900 if number == leaky else 0
        return lambda age_s: OWN + min(more, max(0, (age_s - 60 - old_s) * per_s))

    scene = Costly(size, workers=workers, limit=None, old_s=old_s)
    scene.run_in_group(int((all_of_them + more) / 0.93), 50, 1000)

    assert [leaky] == [number for _, number in scene.asked]
    assert [] == scene.resized


def test_a_leak_that_takes_an_hour() -> None:
    """Too slow to be seen growing from one second to the next: it is known what a worker had when it was new."""
    scene = Scene(lambda _: lambda age_s: 30 + 0.2 * age_s, workers=4, limit=None).run_in_group(GROUP, 60, 4 * 3600)

    assert len(scene.asked) >= 4
    assert [] == scene.resized
    assert scene.most_needed < GROUP * MIB
