"""Is it noticed that a pool stands still for want of memory?"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from launcher.limits.stalls import MACHINE, Stalls
from launcher.monitor.stalled import HOPELESS_S, LASTS_S, SETTLES_S, STALLED, Stalled

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = "/sys/fs/cgroup/memory.pressure"


def acted(full: Callable[[float, int], float], seconds: int, source: str = OURS) -> list[int]:
    """Return when something was done, of a group that stalls by (second, how often something was done before)."""
    stalled = Stalled()
    at: list[int] = []
    for now in range(seconds):
        stalls = Stalls(50.0, full(now, len(at)), source)
        if stalled.look(stalls, now):
            stalled.done(stalls, now)
            at.append(now)
    return at


@pytest.mark.parametrize(
    ("full", "source", "times"),
    [
        (STALLED - 1, OURS, 0),
        (STALLED * 3, MACHINE, 0),
        (STALLED * 3, OURS, 1),
    ],
    ids=["a little", "the machine", "much"],
)
def test_who_stalls(full: float, source: str, times: int) -> None:
    """Only our own group counts, and only when it stands still for a good part of the time."""
    assert times == len(acted(lambda *_: full, 100, source))


def test_nothing_is_known() -> None:
    """Where nothing tells nothing is done."""
    assert not any(Stalled().look(None, now) for now in range(100))


def test_a_moment_is_none() -> None:
    """Stalls of nine seconds, each half minute."""
    assert [] == acted(lambda now, _: 90.0 if now % 30 < LASTS_S else 0.0, 600)


def test_as_long_as_it_helps_more_is_done() -> None:
    """Each time it becomes a third better; when that was enough it ends."""
    at = acted(lambda _, times: 90.0 * 0.6**times, 600)

    assert [LASTS_S, LASTS_S + SETTLES_S, LASTS_S + 2 * SETTLES_S] == at


def test_what_does_not_help_is_not_done_again() -> None:
    """After one attempt nothing for ten minutes: one worker less each ten minutes would be no cure."""
    at = acted(lambda *_: 60.0, 3000)

    assert LASTS_S == at[0]
    assert all(after - before >= HOPELESS_S for before, after in pairwise(at))
    assert len(at) <= math.ceil(3000 / HOPELESS_S)
