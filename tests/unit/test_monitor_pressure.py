"""Is it noticed that the pool runs short of memory, and only then?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.monitor.pressure import Pressure
from launcher.monitor.watched import LOOKS, Relief
from launcher.monitor.yielding import Yielding
from support.memory_scene import made_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.limits.room import Room
    from launcher.monitor.control import Outcome

LIMIT = 1000
RECYCLED = Relief("worker 7 is recycled", is_enough=True)
USELESS = Relief("no worker could be recycled")


@dataclass
class Scene:
    """A group with so much that it needs, and what is done about it; what is asked for is done at once."""

    needed: int | None = 0
    limit: int = LIMIT
    is_limited: bool = True
    relief: Relief = RECYCLED
    wanted: int = 4
    now: float = 0.0
    relieved: list[float] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    said: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        yielding = Yielding(self.ask, lambda: self.wanted, lambda: None, lambda: self.now)
        self.pressure = Pressure(self.room, self.relieve, yielding, self.warn, lambda: self.now)

    def room(self) -> Room | None:
        """Return what there is."""
        return None if self.needed is None else made_room(self.needed, self.limit, is_limited=self.is_limited)

    def relieve(self, left_s: float) -> Relief:
        """Note that something is to be done."""
        self.relieved.append(round(left_s, 3))
        return self.relief

    def ask(self, message: Mapping[str, Any], outcome: Outcome) -> None:
        """Note what the pool is asked for, and do it."""
        self.asked.append(message["ask"])
        self.wanted += 1 if message["ask"] == "grow_back" else -1
        outcome(0, "")

    def warn(self, event: str, **facts: object) -> None:
        """Keep what is said."""
        self.said.append({"event": event.removeprefix("launcher."), **facts})

    def run(self, *needed: int | None) -> Scene:
        """Look once at each of these."""
        for one in needed:
            self.needed, self.now = one, self.now + 1
            self.pressure.look()
        return self


def test_three_looks_above_nine_tenths() -> None:
    """It is said with the sums and with what is done about it, once, and gone about again and again."""
    scene = Scene().run(*[940] * 3 * LOOKS)
    (said,) = scene.said
    told = scene.pressure.facts()

    assert (752, 94, 94, 940, LIMIT, "/group") == (
        *(said[name] for name in ("anon_bytes", "shmem_bytes", "kernel_bytes", "needed_bytes", "limit_bytes")),
        said["source"],
    )
    assert ("memory_pressed", True) == (said["event"], "worker 7 is recycled" in said["because"])
    assert ([0] * 3, []) == (scene.relieved, scene.asked)
    assert {"needed_bytes": 940, "pressed": True, "given_up": 0} == told


def test_a_moment_is_none() -> None:
    """Two looks above it and one below are no pressure, however often; nor is all that may be had."""
    scene = Scene().run(*[905, 905, 900] * 10)

    assert ([], []) == (scene.said, scene.relieved)
    assert {"needed_bytes": 900, "pressed": False, "given_up": 0} == scene.pressure.facts()


def test_a_leak_that_will_not_wait() -> None:
    """What grows by a tenth of the limit each second is gone about four seconds before it is there, and not said."""
    scene = Scene().run(100, 200, 300, 400, 500, 600, 700)

    assert [4.0, 3.0] == scene.relieved[-2:]
    assert ([], []) == (scene.said, scene.asked)


@pytest.mark.parametrize(
    ("needed", "asked"),
    [
        ([910] * LOOKS, 1),
        ([910] * (LOOKS - 1), 0),
        ([951], 1),
        ([951, 951, 951], 2),  # its memory should have gone by the third look
        ([100, 250, 400, 550], 1),  # 150 a second: at 550 the limit is 3 s away
        ([100, 200, 300, 400, 500, 600], 0),
    ],
    ids=["three looks", "two looks", "at once", "it goes on", "three seconds left", "four seconds left"],
)
def test_one_less_when_recycling_is_no_use(needed: list[int], asked: int) -> None:
    """At three looks above nine tenths, at once above 95 %, and when the limit is three seconds away."""
    scene = Scene(relief=USELESS).run(*needed)

    assert asked == len(scene.asked)


@pytest.mark.parametrize("needed", [[951] * 30, [100, 250, 400, 550, 700, 850, 990]], ids=["level", "pace"])
def test_nobody_gives_up_for_a_machine(needed: list[int]) -> None:
    """What others take of a machine is no reason to serve with less, nor is a recycle that is under way."""
    machine, recycling = Scene(is_limited=False, relief=USELESS).run(*needed), Scene().run(*needed)

    assert ([], []) == (machine.asked, recycling.asked)
    assert ["memory_pressed"] == [said["event"] for said in machine.said]


@pytest.mark.parametrize(("for_s", "asked"), [(4.0, 0), (6.0, 1)])
def test_a_recycle_that_takes_too_long(for_s: float, asked: int) -> None:
    """When the old one is kept by requests and the limit is three seconds away, another one goes."""
    relief = Relief("a worker is being recycled", is_enough=True, for_s=for_s)
    scene = Scene(relief=relief).run(100, 250, 400, 550)

    assert asked == len(scene.asked)


def test_the_last_worker_stays() -> None:
    """When one is left, it is said once that nothing is left to do."""
    scene = Scene(relief=USELESS, wanted=2).run(*[960] * 60)

    assert (["shrink"], 1) == (scene.asked, scene.wanted)
    assert ["memory_pressed", "memory_exhausted"] == [said["event"] for said in scene.said]
    assert "nothing left to do: no worker could be recycled; one worker is left" in scene.said[1]["because"]


def test_a_limit_that_is_changed() -> None:
    """The limit of the moment counts: lowered, the same need is pressed; raised, it is not."""
    scene = Scene(limit=2000).run(*[950] * 5)
    before = list(scene.relieved)
    scene.limit = LIMIT
    scene.run(*[940] * LOOKS)
    scene.limit = 2000

    assert ([], [0]) == (before, scene.relieved)
    assert not scene.run(940).pressure.facts()["pressed"]


def test_it_is_said_again_when_it_comes_again() -> None:
    """Around nine tenths it is the same pressure; after it was well below, it is another one."""
    around = Scene().run(*[950, 950, 950, 880] * 5)
    again = Scene().run(*[950, 950, 950, 800] * 5)

    assert (1, 5) == (len(around.said), len(again.said))


def test_nothing_is_known() -> None:
    """Where nothing tells the usage, nothing is pressed."""
    blind = Scene(relief=USELESS).run(*[None] * 5)

    assert {"pressed": False, "given_up": 0} == blind.pressure.facts()
    assert ([], []) == (blind.said, blind.asked)
