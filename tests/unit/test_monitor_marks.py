"""When is there too little memory left?"""

from __future__ import annotations

import pytest

from launcher.monitor.marks import Marks, marks_of, scarcity
from support.memory_scene import made_room

GIB = 1 << 30


@pytest.mark.parametrize(
    ("limit", "budget", "parts"),
    [
        (1000, 800, (850, 900, 950)),
        (1000, 0, (850, 900, 950)),
        (1000, 500, (850, 900, 950)),
        (1000, 950, (950, 950, 975)),
        (1000, 1000, (970, 970, 985)),
        (1000, 4000, (970, 970, 985)),
    ],
    ids=["default", "unknown", "half", "nearly all", "all", "more than there is"],
)
def test_what_may_be_used_is_not_pressed(limit: int, budget: int, parts: tuple[int, int, int]) -> None:
    """A tenth is left, or as little as somebody has said, but never no time to do anything."""
    assert Marks(*parts) == marks_of(limit, budget)


def test_a_large_limit() -> None:
    """Of 64 GiB one is left, not six."""
    assert Marks(64 * GIB - 3 * GIB // 2, 63 * GIB, 64 * GIB - GIB // 2) == marks_of(64 * GIB, 51 * GIB)


def test_the_nearest_to_being_pressed() -> None:
    """Of 400 bytes 50 are more than of 1000 are 60; it is below 1 just when it is pressed."""
    small, large, huge = made_room(350, 400), made_room(940, 1000), made_room(62 * GIB, 64 * GIB)
    left = [scarcity(room) for room in (small, large, huge)]

    assert left[1] < 1 < left[0] < left[2]
    assert large == min((small, large, huge), key=scarcity)
