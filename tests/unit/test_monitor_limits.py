"""Is a change of a limit said once, and shown from then on?"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.limits.room import Room
from launcher.limits.stalls import Stalls
from launcher.limits.usage import GroupUsage
from launcher.limits.values import Limit, Limits
from launcher.monitor.limits import EVERY_S, STALLS_EVERY_S, LimitsWatch, Readers
from launcher.monitor.notes import Notes
from launcher.monitor.view import View
from launcher.scoreboard import Board

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
HELD = GroupUsage(300 * MIB, 20 * MIB, 10 * MIB, "/group")


@dataclass
class Scene:
    """Limits that somebody changes, seconds that pass, and what is said."""

    board: Board
    memory: int = 600 * MIB
    cpus: float = 2
    plan: dict[str, Any] = field(default_factory=lambda: {"memory": planned(600)})
    stalls: Stalls | None = None
    has_room: bool = True
    now: float = 0.0
    looks: int = 0
    stalls_read: int = 0
    said: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.another_monitor()

    def another_monitor(self) -> None:
        """Begin as a monitor does, with what the one before has left."""
        self.view = View(self.board)
        notes = Notes(self.view)
        readers = Readers(self.limits, self.room, self.read_stalls)
        self.watch = LimitsWatch(self.plan, self.view, self.warn, readers, lambda: self.now)
        self.watch.changed = notes.keep

    def limits(self) -> Limits:
        """Return what there is now."""
        self.looks += 1
        memory, cpus = Limit(self.memory, "memory.max of /group"), Limit(self.cpus, "cpu quota")
        return Limits(memory, True, cpus, True, "host", ())  # noqa: FBT003 - as the dataclass has it

    def room(self) -> Room | None:
        """Return what is left."""
        return Room(self.memory, "memory.max of /group", is_limited=True, usage=HELD) if self.has_room else None

    def read_stalls(self) -> Stalls | None:
        """Return how long was waited."""
        self.stalls_read += 1
        return self.stalls

    def warn(self, event: str, **facts: Any) -> None:
        """Keep what is said."""
        assert event == "launcher.limit_changed"
        self.said.append(facts)

    def run(self, seconds: int) -> Scene:
        """Look once a second."""
        for _ in range(seconds):
            self.watch.look()
            self.now += 1
        return self

    @property
    def shown(self) -> tuple[int, str, int]:
        """Limit, its source and the budget, as `status` has them."""
        memory = self.view.facts.get("memory") or self.plan["memory"]
        return memory["limit_bytes"], memory["source"], memory["budget_bytes"]


def planned(mib: int, **more: object) -> dict[str, Any]:
    """Return the memory of a plan: four fifths of the limit are the pool's."""
    return {"limit_bytes": mib * MIB, "source": "the plan", "budget_bytes": mib * MIB * 4 // 5, "asked": None, **more}


@pytest.fixture
def board() -> Iterator[Board]:
    """Return a new board; its descriptor is closed in the end."""
    made = Board.create()
    yield made
    os.close(made.fd)


def test_a_change_of_the_memory(board: Board) -> None:
    """A lower limit is said within eleven seconds, once; limit, source and budget are the present ones from then on."""
    scene = Scene(board).run(3)
    before, scene.memory = scene.shown, 400 * MIB
    scene.run(9)
    (said,) = scene.said

    assert (600 * MIB, "the plan", 480 * MIB) == before
    assert {
        "what": "memory",
        "before_bytes": 600 * MIB,
        "limit_bytes": 400 * MIB,
        "budget_bytes": 320 * MIB,
        "source": "memory.max of /group",
    } == said
    assert (400 * MIB, "memory.max of /group", 320 * MIB) == scene.shown
    assert scene.said == scene.run(60).said


def test_a_change_of_the_cpus(board: Board) -> None:
    """CPUs are said likewise, and the memory is as the plan has it."""
    scene = Scene(board).run(1)
    before, scene.cpus = scene.watch.cpus(), 0.5
    scene.run(12)

    assert [{"what": "cpus", "before": 2, "now": 0.5, "source": "cpu quota"}] == scene.said
    assert {"usable": 2, "source": "cpu quota"} == before
    assert {"usable": 0.5, "source": "cpu quota"} == scene.watch.cpus()
    assert (600 * MIB, "the plan", 480 * MIB) == scene.shown


def test_both_at_once_and_back_again(board: Board) -> None:
    """Each change is an event of its own, the one back too."""
    scene = Scene(board).run(1)
    scene.memory, scene.cpus = 400 * MIB, 1
    scene.run(20)
    scene.memory, scene.cpus = 600 * MIB, 2
    scene.run(20)

    assert ["memory", "cpus", "memory", "cpus"] == [facts["what"] for facts in scene.said]
    assert (600 * MIB, "memory.max of /group", 480 * MIB) == scene.shown


@pytest.mark.parametrize(
    ("asked", "budget_mib"), [(None, 320), (0.5, 200), (300 * MIB, 300), (500 * MIB, 400)], ids=repr
)
def test_the_budget(board: Board, asked: float | None, budget_mib: int) -> None:
    """A share of the limit stays a share, a size stays the size as long as the limit has room for it."""
    scene = Scene(board, plan={"memory": planned(600, asked=asked)}).run(1)
    scene.memory = 400 * MIB
    scene.run(12)

    assert budget_mib * MIB == scene.shown[2]


def test_a_reading_that_does_not_last(board: Board) -> None:
    """One odd reading is looked at again a second later, and is no change."""
    scene = Scene(board).run(10)
    scene.memory = 16000 * MIB
    scene.run(1)
    scene.memory = 600 * MIB
    scene.run(30)

    assert [] == scene.said
    assert (600 * MIB, "the plan", 480 * MIB) == scene.shown


def test_the_next_monitor(board: Board) -> None:
    """It shows the present limit, says no change twice, and says one that came while there was none."""
    scene = Scene(board).run(1)
    scene.memory = 400 * MIB
    scene.run(12)
    scene.another_monitor()
    scene.run(12)
    said, shown, scene.memory = len(scene.said), scene.shown, 300 * MIB
    scene.another_monitor()
    scene.run(2)

    assert (1, (400 * MIB, "memory.max of /group", 320 * MIB)) == (said, shown)
    assert [(600 * MIB, 400 * MIB), (400 * MIB, 300 * MIB)] == [
        (facts["before_bytes"], facts["limit_bytes"]) for facts in scene.said
    ]


def test_a_plan_that_comes_later(board: Board) -> None:
    """A change before the pool was sized is said, and its plan is corrected only where it is out of date."""
    scene = Scene(board, plan={}).run(1)
    scene.memory = 400 * MIB
    scene.run(12)
    nothing = dict(scene.view.facts)
    scene.view.hear({"event": "plan", "memory": planned(400, source="memory.max of /group")})
    in_time = scene.run(1).shown
    scene.view.hear({"event": "plan", "memory": planned(600)})
    too_late = scene.run(1).shown

    assert {} == nothing
    assert (400 * MIB, "memory.max of /group", 320 * MIB) == in_time == too_late
    assert [None] == [facts["budget_bytes"] for facts in scene.said]


def test_what_status_shows(board: Board) -> None:
    """What is left is read when it is asked for; what nothing tells is absent, or none."""
    scene = Scene(board, stalls=Stalls(12.5, 1.0, "/group/memory.pressure")).run(1)
    known, scene.memory = scene.watch.memory(), 200 * MIB
    lowered, scene.has_room, scene.stalls = scene.watch.memory(), False, None
    scene.run(int(STALLS_EVERY_S))

    assert {
        "needed_bytes": 330 * MIB,
        "free_bytes": 270 * MIB,
        "room_limit_bytes": 600 * MIB,
        "room_source": "memory.max of /group",
        "stalls": {"some_avg10": 12.5, "full_avg10": 1.0, "source": "/group/memory.pressure"},
    } == known
    assert -130 * MIB == lowered["free_bytes"]
    assert {"stalls": None} == scene.watch.memory()


def test_how_often_it_is_read(board: Board) -> None:
    """Limits every ten seconds, stalls every five."""
    scene = Scene(board).run(60)

    assert (60 // EVERY_S, 60 // STALLS_EVERY_S) == (scene.looks, scene.stalls_read)
