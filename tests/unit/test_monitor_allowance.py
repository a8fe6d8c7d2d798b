"""Is it known what the pool has of what it may have?"""

from __future__ import annotations

from dataclasses import dataclass, field

from launcher.limits.footprint import Footprint, Parts
from launcher.monitor.allowance import LASTS_LOOKS, Allowance, Excess
from launcher.monitor.watched import LOOKS

BUDGET = 1000


@dataclass
class Scene:
    """Processes, by pid: what is resident in each and of no file, and its part of what all hold."""

    resident: dict[int, int]
    parts: dict[int, int] = field(default_factory=dict)
    budget: int | None = BUDGET
    is_exact: bool = True
    shares: bool = False
    walk_s: float = 0.0
    now: float = 100.0
    walks: int = 0
    shmem: int = 0

    def __post_init__(self) -> None:
        self.allowance = Allowance(lambda: self.budget, lambda: [*self.resident], self, self.clock, shares=self.shares)

    def clock(self) -> float:
        """Return what time it is."""
        return self.now

    def cheap(self, pid: int) -> int | None:
        """Return what statm would have."""
        return self.resident.get(pid)

    def footprint(self, pid: int) -> Footprint | None:
        """Return what a walk would have, which takes its time."""
        self.walks += 1
        self.now += self.walk_s
        if pid not in self.resident:
            return None
        part = self.parts.get(pid, self.resident[pid])
        parts = Parts(part, 0, 0) if self.is_exact else None
        return Footprint(self.resident[pid], part, part, part, self.is_exact, kernel_bytes=0, parts=parts)

    def look(self, seconds: int = 1) -> Excess | None:
        """Let time pass; return what was found last."""
        found = None
        for _ in range(seconds):
            self.now = float(int(self.now) + 1)
            found = self.allowance.look(self.shmem)
        return found


def test_nobody_has_said_how_much() -> None:
    """Then there is nothing to be held against."""
    assert Scene({1: 5000}, budget=None).look() is None


def test_less_than_is_allowed() -> None:
    """Nothing is walked for it."""
    scene = Scene({1: 500, 2: 400})

    assert (Excess(900, BUDGET, 0), 0) == (scene.look(30), scene.walks)


def test_more_than_is_allowed() -> None:
    """It is due at the ninth look, and each third one after it; shared memory counts."""
    scene = Scene({1: 500, 2: 400}, shmem=200)
    found = [scene.look() for _ in range(LASTS_LOOKS + 2 * LOOKS)]

    assert [Excess(1100, BUDGET, looks + 1) for looks in range(LASTS_LOOKS + 2 * LOOKS)] == found
    assert [LASTS_LOOKS, LASTS_LOOKS + LOOKS, LASTS_LOOKS + 2 * LOOKS] == [
        looks + 1 for looks, one in enumerate(found) if one is not None and one.is_due
    ]


def test_a_moment_is_none() -> None:
    """Eight looks above it and one below are never due."""
    scene = Scene({1: 500})
    found = []
    for shmem in (*[600] * (LASTS_LOOKS - 1), 0) * 5:
        scene.shmem = shmem
        found.append(scene.look())

    assert not any(one is not None and one.is_due for one in found)


def test_what_a_fork_shares_is_there_once() -> None:
    """Four of 500, of which 400 are the same: 800. They are walked once in ten seconds, not in each."""
    scene = Scene(dict.fromkeys(range(4), 500), dict.fromkeys(range(4), 200), shares=True)

    assert Excess(800, BUDGET, 0) == scene.look(30)
    assert scene.walks <= 4 * 4


def test_what_has_come_since_the_walk_counts_at_once() -> None:
    """Each grows by 100: the first look sees it."""
    scene = Scene(dict.fromkeys(range(4), 500), dict.fromkeys(range(4), 200), shares=True)
    scene.look()
    scene.resident = dict.fromkeys(range(4), 600)

    assert Excess(1200, BUDGET, 1) == scene.look()
    assert 4 == scene.walks


def test_what_was_unshared_is_seen_by_the_next_walk() -> None:
    """What is resident stays, and is everybody's own."""
    scene = Scene(dict.fromkeys(range(4), 500), dict.fromkeys(range(4), 200), shares=True)
    scene.look()
    scene.parts = dict.fromkeys(range(4), 450)
    found = scene.look(12)

    assert found is not None
    assert (1800, True) == (found.used_bytes, found.looks > 0)


def test_many_of_them() -> None:
    """Walks take 30 ms each: it is not known until all were walked, which is a matter of seconds."""
    scene = Scene(dict.fromkeys(range(20), 100), walk_s=0.03)
    first, later = scene.look(), scene.look(15)

    assert Excess(None, BUDGET, 0) == first
    assert later is not None
    assert 2000 == later.used_bytes


def test_who_may_not_be_walked() -> None:
    """Without sharing that is as good as known; with it nothing is, and nobody is blamed."""
    apart, sharing = (Scene({1: 700, 2: 700}, is_exact=False, shares=shares) for shares in (False, True))

    assert (Excess(1400, BUDGET, 9), Excess(None, BUDGET, 0)) == (apart.look(9), sharing.look(9))


def test_who_is_dead_has_nothing() -> None:
    """A zombie is resident with 0 bytes, and one that ends while it is looked at is as good as gone."""
    assert Excess(900, BUDGET, 0) == Scene({1: 900, 2: 0}).look()


def test_a_budget_that_changes() -> None:
    """That of the moment counts."""
    scene = Scene({1: 900})
    before = scene.look(5)
    scene.budget = 500

    assert (Excess(900, BUDGET, 0), Excess(900, 500, 1)) == (before, scene.look())
