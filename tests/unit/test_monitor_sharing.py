"""Is it noticed that workers share no more what was loaded before the fork, and only then?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.errors import ExitCode
from launcher.limits.footprint import Footprint
from launcher.monitor.sharing import Sharing
from launcher.monitor.watched import Ready

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.monitor.control import Outcome

MIB = 1 << 20
SHARED, NEW = 230, 13  # MiB, as the measured worker of a 200 MB application has (evidence A3)


@dataclass
class Scene:
    """Workers that were forked from a large process; each has un-shared and taken so many MiB since.

    has_group: whether it is told what all have together.
    """

    workers: int = 4
    has_group: bool = True
    answer: tuple[int, str] = (0, "")
    is_exact: bool = True
    now: float = 1000.0
    unshared: dict[int, float] = field(default_factory=dict)
    taken: dict[int, float] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    said: list[Mapping[str, Any]] = field(default_factory=list)
    walks: int = 0
    coming: int | None = None

    def __post_init__(self) -> None:
        self.generations |= dict.fromkeys(range(1, self.workers + 1), 1)
        self.sharing = Sharing(self.ready, self, self.ask, self.warn, lambda: self.now)

    def ready(self) -> list[Ready]:
        """Return all of them."""
        return [Ready(number, number, 0.0, generation=generation) for number, generation in self.generations.items()]

    def cheap(self, pid: int) -> int | None:
        """Return what is resident: un-sharing does not change it."""
        return int((SHARED + NEW + self.taken.get(pid, 0)) * MIB)

    def footprint(self, pid: int) -> Footprint | None:
        """Return what a walk finds."""
        self.walks += 1
        own, rss = NEW + self.unshared.get(pid, 0) + self.taken.get(pid, 0), SHARED + NEW + self.taken.get(pid, 0)
        pss = own + (rss - own) / (self.workers + 1)
        return Footprint(int(own * MIB), int(pss * MIB), int(rss * MIB), int(rss * MIB), is_exact=self.is_exact)

    def ask(self, message: Mapping[str, Any], outcome: Outcome) -> None:
        """Answer at once."""
        assert message["ask"] == "remeasure"
        self.asked.append(message)
        outcome(*self.answer)

    def warn(self, event: str, **facts: object) -> None:
        """Keep what is said."""
        assert event == "launcher.sharing_broken"
        self.said.append(facts)

    def run(self, seconds: int) -> Scene:
        """Let time pass, a look each second."""
        for _ in range(seconds):
            self.now += 1
            own = sum(NEW + self.unshared.get(one, 0) + self.taken.get(one, 0) for one in self.generations)
            self.coming = self.sharing.look(int((SHARED + own) * MIB) if self.has_group else None)
        return self


@pytest.mark.parametrize("has_group", [True, False])
def test_a_request_that_touches_all(has_group: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """It is said within ten seconds of the touch of one of four; with a group in the next look."""
    scene = Scene(has_group=has_group).run(30)
    before = scene.sharing.facts()["share_ratio"]
    scene.unshared[1] = 132
    scene.run(2 if has_group else 40)
    (said,) = scene.said

    assert {"pid": 1, "private_bytes": 145 * MIB, "was_bytes": 13 * MIB, "shared_bytes": 98 * MIB} == {
        name: said[name] for name in ("pid", "private_bytes", "was_bytes", "shared_bytes")
    }
    assert before < said["share_ratio"] == scene.sharing.facts()["share_ratio"]
    assert "requests un-share" in said["because"]
    assert ["remeasure"] == [one["ask"] for one in scene.asked]


def test_one_worker_after_the_other() -> None:
    """It is said once; the pool is asked again for what came since, not more often than each five seconds."""
    scene = Scene().run(5)
    for number in (1, 2, 3, 4):
        scene.unshared[number] = 132
        scene.run(2)
    scene.run(20)

    assert 1 == len(scene.said)
    assert 2 <= len(scene.asked) <= 3


def test_what_will_be_lost_besides() -> None:
    """What one has lost the other three will; nothing is foreseen as long as the pool finds its size anew."""
    scene = Scene(answer=(int(ExitCode.USAGE), "somebody has said it")).run(5)
    before = scene.coming
    scene.unshared[1] = 132
    scene.run(2)
    then, scene.unshared[2] = scene.coming, 100
    scene.run(2)
    other = Scene().run(5)
    other.unshared[1] = 132
    other.run(1)

    assert (None, 3 * 132 * MIB, (2 * 132 + 32) * MIB) == (before, then, scene.coming)
    assert (0, 3 * 132 * MIB) == (other.coming, other.run(6).coming)
    assert 1 == len(scene.asked)


def test_what_only_one_ever_does() -> None:
    """When no other worker has lost any for ten minutes none is expected to."""
    scene = Scene(answer=(int(ExitCode.USAGE), "somebody has said it")).run(5)
    scene.unshared[1] = 132
    before, after = scene.run(590).coming, scene.run(20).coming
    scene.unshared[2] = 100

    assert (3 * 132 * MIB, 0, (2 * 132 + 32) * MIB) == (before, after, scene.run(2).coming)


def test_a_leak_is_none() -> None:
    """What is taken anew is resident besides: nothing is said of 300 MiB of it."""
    scene = Scene().run(5)
    for taken in range(300):
        scene.taken = dict.fromkeys(range(1, 5), taken)
        scene.run(1)

    assert ([], [], None) == (scene.said, scene.asked, scene.coming)


def test_a_leak_hides_nothing() -> None:
    """One that leaks and un-shares is told by what it has un-shared."""
    scene = Scene().run(5)
    scene.taken[1], scene.unshared[1] = 100, 40

    assert [153 * MIB] == [said["private_bytes"] for said in scene.run(2).said]


def test_what_traffic_costs_anyway() -> None:
    """13 MiB of the interpreter's own, un-shared by the first requests, are nothing to say."""
    scene = Scene().run(5)
    scene.unshared = dict.fromkeys(range(1, 5), 13)

    assert [] == scene.run(100).said


def test_a_reload_begins_anew() -> None:
    """Of the new code it is said again, once."""
    scene = Scene().run(5)
    scene.unshared = dict.fromkeys(range(1, 5), 132)
    scene.run(5)
    scene.generations = {5: 2, 6: 2}
    scene.run(5)
    calm = scene.coming
    scene.unshared |= {5: 132, 6: 132}

    assert [1, 5] == [said["pid"] for said in scene.run(5).said]
    assert calm is None


def test_one_that_comes_late_is_held_against_its_like() -> None:
    """A worker whose first look is after the touch is known by the others of its generation."""
    scene = Scene().run(5)
    scene.generations[9], scene.unshared[9] = 1, 132

    assert [9] == [said["pid"] for said in scene.run(2).said]


def test_while_nothing_happens_hardly_anything_is_walked() -> None:
    """Each worker when it is met, and one a minute; those that may not be walked tell nothing."""
    quiet, barred = Scene().run(300), Scene(is_exact=False).run(10)

    assert quiet.walks <= 4 * 2 + 300 / 60 + 1
    assert ({}, []) == (barred.sharing.facts(), barred.said)


def test_an_ask_that_was_lost() -> None:
    """A server that does not listen is asked again."""
    scene = Scene(answer=(int(ExitCode.BUG), "the server does not listen")).run(5)
    scene.unshared[1] = 132
    scene.run(7)

    assert 2 == len(scene.asked)
