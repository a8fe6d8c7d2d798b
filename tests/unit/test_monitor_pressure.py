"""Is it noticed that the pool runs short of memory, and only then?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.limits.stalls import Stalls
from launcher.monitor.allowance import LASTS_LOOKS, Excess
from launcher.monitor.pressure import Pressure
from launcher.monitor.watched import LOOKS, Relief
from launcher.monitor.yielding import PATIENCE_S, Yielding
from support.memory_scene import MIB, made_room

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
    boots: bool = False
    now: float = 0.0
    relieved: list[float] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    said: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        most = self.wanted
        yielding = Yielding(self.ask, lambda: self.wanted, lambda: most - self.wanted, lambda: None, lambda: self.now)
        self.pressure = Pressure(self.room, self, yielding, self.warn, lambda: self.now)

    def room(self) -> Room | None:
        """Return what there is."""
        return None if self.needed is None else made_room(self.needed, self.limit, is_limited=self.is_limited)

    def relieve(self, left_s: float, *, is_short: bool) -> Relief:
        """Note that something is to be done, 0: at once."""
        self.relieved.append(0 if is_short else round(left_s, 3))
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


def test_who_boots_may_be_done_in_a_moment() -> None:
    """One look above 95 % is none while a worker boots; three are."""
    scene = Scene(relief=USELESS, boots=True)
    once, thrice = scene.run(*[960, 500] * 5).asked[:], scene.run(*[960] * LOOKS).asked

    assert ([], ["shrink"]) == (once, thrice)


def test_much_of_a_large_limit() -> None:
    """Of 64 GiB 59 stand still: what is left is more than anybody needs at once."""
    gib = 1 << 30
    flat = Scene(limit=64 * gib).run(*[59 * gib] * 30)
    full = Scene(limit=64 * gib, relief=USELESS).run(*[63 * gib + gib // 4] * LOOKS)

    assert ([], []) == (flat.said, flat.relieved)
    assert ["shrink"] == full.asked


def test_what_somebody_has_allowed() -> None:
    """With --memory 95% a pool that needs 94 % is as large as it should be; at 96 % it is not."""
    scene = Scene(relief=USELESS)
    scene.pressure.budget_bytes = lambda: 950
    before = scene.run(*[940] * 30).asked[:]

    assert ([], ["shrink"]) == (before, scene.run(*[960] * LOOKS).asked)


def test_more_than_is_allowed() -> None:
    """It is said with both numbers once, and there is one less each time that it is due, but for the last."""
    scene = Scene(relief=USELESS, wanted=3)
    scene.pressure.allowance = lambda _: Excess(700 * MIB, 500 * MIB, int(scene.now))
    scene.run(*[500] * (LASTS_LOOKS + 3 * LOOKS))
    (said,) = scene.said

    assert (["shrink"] * 2, 1) == (scene.asked, scene.wanted)
    assert ("budget_exceeded", 700 * MIB, 500 * MIB) == (said["event"], said["used_bytes"], said["budget_bytes"])
    assert "700 MiB, and --memory allows it 500 MiB: no worker could be recycled; 2 of 3" in said["because"]
    assert {"needed_bytes": 500, "pool_bytes": 700 * MIB, "over_budget": True, "pressed": False, "given_up": 2} == (
        scene.pressure.facts()
    )


def test_more_than_is_allowed_of_a_machine() -> None:
    """That is the pool's own: it has one less there, too, and where nothing tells what the machine has."""
    scene = Scene(is_limited=False, relief=USELESS)
    scene.pressure.allowance = lambda _: Excess(700, 500, int(scene.now))
    scene.run(*[500] * LASTS_LOOKS)

    assert ["shrink"] * 2 == scene.run(*[None] * LOOKS).asked


def test_a_worker_is_recycled_for_the_budget_first() -> None:
    """While that is under way nobody is given up, for half a minute: no kernel waits."""
    scene = Scene()
    scene.pressure.allowance = lambda _: Excess(700, 500, int(scene.now))
    scene.run(*[500] * 10)
    early = scene.asked[:]
    scene.relief = Relief("a worker is being recycled", is_enough=True, for_s=301.0)

    assert ([], ["shrink"]) == (early, scene.run(*[500] * 3).asked)


def test_it_is_taken_back_within_the_budget_only() -> None:
    """There is room in the group for long; in the budget there is from the fiftieth second on."""
    scene = Scene(limit=1 << 30, wanted=3)
    scene.wanted = 2
    most = 100 * MIB
    scene.pressure.allowance = lambda _: Excess(most - (40 * MIB if scene.now > 50 else 0), most)
    before = scene.run(*[500] * int(50 + PATIENCE_S)).asked[:]

    assert ([], ["grow_back"]) == (before, scene.run(500, 500).asked)


@pytest.mark.parametrize(("used", "asked"), [(None, 1), (600, 0), (499, 0)], ids=["unknown", "too much", "enough"])
def test_nobody_is_taken_back_into_a_budget_without_room(used: int | None, asked: int) -> None:
    """Where it cannot be known what the pool has the limit is what counts."""
    scene = Scene(limit=1 << 30, wanted=3)
    scene.wanted = 2
    scene.pressure.allowance = lambda _: Excess(used, 500, int(used == 600))

    assert asked == len(scene.run(*[500] * 100).asked)


def test_taken_back_where_nothing_tells_what_the_machine_has() -> None:
    """The budget is all that there is; a reading that fails now and then is none that says no."""
    blind, now_and_then = Scene(wanted=3), Scene(limit=1 << 30, wanted=3)
    blind.wanted = now_and_then.wanted = 2
    blind.pressure.allowance = lambda _: Excess(500, 1 << 30)

    assert ["grow_back"] == blind.run(*[None] * 80).asked
    assert ["grow_back"] == now_and_then.run(*[500, 500, None] * 30).asked


def test_a_machine_that_others_press() -> None:
    """Its looks and those of the budget fall together: one less for the budget all the same."""
    scene = Scene(is_limited=False, relief=USELESS)
    scene.pressure.allowance = lambda _: Excess(700, 500, int(scene.now))

    assert ["shrink"] == scene.run(*[990] * LASTS_LOOKS).asked


def test_a_group_that_stands_still() -> None:
    """It needs half of its limit, and waits: one less, and it is said with the numbers of the kernel."""
    scene = Scene(relief=USELESS)
    scene.pressure.stalls = lambda: Stalls(60.0, 40.0, "/sys/fs/cgroup/memory.pressure")
    scene.run(*[500] * 30)
    (said,) = scene.said

    assert ["shrink"] == scene.asked
    assert ("memory_stalled", 60.0, 40.0) == (said["event"], said["some_avg10"], said["full_avg10"])
    assert said["because"].startswith("for 40 % of the time nobody could run for want of memory: no worker could")


@pytest.mark.parametrize("what", [{"is_limited": False}, {"boots": True}], ids=["no limit", "one boots"])
def test_stalls_that_are_nobodys_fault(what: dict[str, Any]) -> None:
    """Of a machine that is short of memory for others, and of a start, nothing is done."""
    scene = Scene(relief=USELESS, **what)
    scene.pressure.stalls = lambda: Stalls(60.0, 40.0, "/sys/fs/cgroup/memory.pressure")

    assert [] == scene.run(*[500] * 60).asked


def test_what_lasts_is_said_again_after_an_hour() -> None:
    """Between 88 and 94 % for three hours."""
    assert 3 == len(Scene().run(*[940, 940, 940, 880] * (3 * 3600 // 4)).said)


class Turns(Scene):
    """One of two groups, of which now the one has least left and now the other."""

    def room(self) -> Room | None:
        """Return that of the moment."""
        room = super().room()
        return room and dataclasses.replace(room, limit_source=("ours", "the one above")[int(self.now) % 2])


def test_two_groups_that_take_turns() -> None:
    """Both are pressed: that is no new beginning each time."""
    assert ["shrink"] == Turns(relief=USELESS).run(*[930] * LOOKS).asked
