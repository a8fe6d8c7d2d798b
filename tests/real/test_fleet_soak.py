"""Does a fleet come to rest after a few random disturbances? The long version: `make soak`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from support.soak import own_lane, play

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgresql import PostgreSQL

ROUNDS = 2
SEED = 3


@pytest.mark.timeout(240)
def test_short_soak(postgresql: PostgreSQL, tmp_path: Path) -> None:
    """After each round all five serve, the step was done once at the end, and never were two at it."""
    with own_lane(postgresql, tmp_path) as lane:
        rounds = [random.Random(f"{SEED} {number}") for number in range(ROUNDS)]  # noqa: S311 - to be repeated
        outcomes = [play(lane, rng, f"r{number}") for number, rng in enumerate(rounds)]

    assert [[]] * ROUNDS == [outcome.wrong for outcome in outcomes], str(outcomes)
