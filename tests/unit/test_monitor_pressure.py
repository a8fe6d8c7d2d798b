"""Is it noticed that the pool runs short of memory, and only then?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher.limits.usage import GroupUsage
from launcher.monitor.pressure import Pressure
from launcher.monitor.watched import LOOKS

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 1000


@dataclass
class Scene:
    """A group with so much that it needs, and what is done about it."""

    needed: int | None = 0
    limit: int | None = LIMIT
    now: float = 0.0
    relieved: list[tuple[int, float]] = field(default_factory=list)
    rooms: list[int] = field(default_factory=list)
    said: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pressure = Pressure(self.usage, lambda: self.limit, self.relieve, self.warn, lambda: self.now)

    def usage(self) -> GroupUsage | None:
        """Return what the group needs, a tenth of it in each of two other kinds."""
        if self.needed is None:
            return None
        tenth = self.needed // 10
        return GroupUsage(self.needed - 2 * tenth, tenth, tenth, "/group")

    def relieve(self, room_bytes: int, left_s: float) -> str:
        """Note what the room is and, if so, that something is to be done."""
        self.rooms.append(room_bytes)
        if left_s < math.inf:
            self.relieved.append((room_bytes, left_s))
        return "worker 7 is recycled"

    def warn(self, event: str, **facts: object) -> None:
        """Keep what is said."""
        assert event == "launcher.memory_pressed"
        self.said.append(facts)

    def run(self, *needed: int | None) -> Scene:
        """Look once at each of these."""
        for one in needed:
            self.needed, self.now = one, self.now + 1
            self.pressure.look()
        return self


def test_three_looks_above_nine_tenths() -> None:
    """It is said with the sums and with what is done about it, once, and gone about again and again."""
    scene = Scene().run(*[950] * 3 * LOOKS)
    (said,) = scene.said
    told = scene.pressure.facts()

    assert (760, 95, 95, 950, LIMIT, "/group") == (
        *(said[name] for name in ("anon_bytes", "shmem_bytes", "kernel_bytes", "needed_bytes", "limit_bytes")),
        said["source"],
    )
    assert "worker 7 is recycled" in said["because"]
    assert [(50, 0)] * 3 == scene.relieved
    assert {"needed_bytes": 950, "pressed": True} == told


def test_a_moment_is_none() -> None:
    """Two looks above it and one below are no pressure, however often; nor is all that may be had."""
    scene = Scene().run(*[905, 905, 900] * 10)

    assert ([], []) == (scene.said, scene.relieved)
    assert {"needed_bytes": 900, "pressed": False} == scene.pressure.facts()


def test_a_leak_that_will_not_wait() -> None:
    """What grows by a tenth of the limit each second is gone about four seconds before it is there, and not said."""
    scene = Scene().run(100, 200, 300, 400, 500, 600, 700)

    assert [(400, 4.0), (300, 3.0)] == [(room, round(left_s, 3)) for room, left_s in scene.relieved[-2:]]
    assert [] == scene.said


def test_the_room_is_told_without_a_need() -> None:
    """Whoever recycles for another reason knows at each look what is left."""
    scene = Scene().run(100, 100, 300)

    assert ([900, 900, 700], []) == (scene.rooms, scene.relieved)


def test_it_is_said_again_when_it_comes_again() -> None:
    """Around nine tenths it is the same pressure; after it was well below, it is another one."""
    around = Scene().run(*[950, 950, 950, 880] * 5)
    again = Scene().run(*[950, 950, 950, 800] * 5)

    assert (1, 5) == (len(around.said), len(again.said))


def test_nothing_is_known() -> None:
    """Without a limit, or where nothing tells the usage, nothing is pressed."""
    blind, boundless = Scene().run(*[None] * 5), Scene(limit=None).run(*[950] * 5)

    assert {"pressed": False} == blind.pressure.facts()
    assert ([], []) == (blind.said, boundless.said)
