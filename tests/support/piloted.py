"""How is a pool played that finds its size by itself?

Workers are played, and so are the readings of their memory: what matters is when the pool looks, and what it makes of
what it sees.
"""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from launcher.budget import MIB, Measured, Supply
from launcher.growth import Growth
from launcher.limits.footprint import Footprint, Parts
from launcher.serving.pool.looks import WARM_REQUESTS, Milestone, Readers
from launcher.serving.pool.pilot import Pilot
from launcher.serving.rules import Rules
from support.play import Ears, Play, begun

ARBITER = 1
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
# 40 MiB of an arbiter, 16 of files, 12 of the monitor; a worker of 100 MiB may grow by 25.
BESIDE = 68 * MIB


def room_for(workers: int, each: int = 125 * MIB) -> int:
    """Return the bytes into which so many workers just fit."""
    return BESIDE + workers * each


GROWTH = Growth(
    most_workers=8,
    guessed_workers=3,
    usable_bytes=room_for(8),
    limit_bytes=2048 * MIB,
    limit_source="a test",
    memory=room_for(8),
    is_limited=True,
    is_pilot=True,
)
KNOWN = Measured(
    worker_bytes=100 * MIB,
    shared_bytes=40 * MIB,
    peak_bytes=100 * MIB,
    files_bytes=0,
    shmem_bytes=0,
    source="measured 2026-11-21 by an earlier start",
    provisional=False,
)


@dataclass
class Scene:
    """A played pool with its pilot. sizes: MiB of the workers by pid, else `size`; None: it cannot be read."""

    play: Play
    growth: Growth
    size: int | None = 100
    sizes: dict[int, int | None] = field(default_factory=dict)
    peak: int = 0
    shmem: int | None = 0
    mapped: int = 0
    supply: Supply | None = None
    read: list[int] = field(default_factory=list)
    ears: Ears = field(default_factory=Ears)

    def __post_init__(self) -> None:
        self.play.pool.voice = self.ears
        readers = Readers(self.footprint, lambda: [ARBITER], self.in_shared_memory, lambda: self.supply)
        self.play.pool.pilot = self.pilot = Pilot(self.growth, readers, lambda: NOON)

    def footprint(self, pid: int) -> Footprint | None:
        """Return what was set for a process; of the arbiter 40 MiB, with the files of all of them."""
        self.read.append(pid)
        size = 40 if pid == ARBITER else self.sizes.get(pid, self.size)
        if size is None:
            return None
        own = size * MIB
        files = 16 * MIB if pid == ARBITER else 0
        kernel = 256 * 1024
        rss, mapped = own + files, 0 if pid == ARBITER else self.mapped * MIB
        parts = Parts(own - kernel - mapped, files, mapped)
        peak = rss + self.peak * MIB
        return Footprint(own, rss - kernel, rss, peak, is_exact=True, kernel_bytes=kernel, parts=parts)

    def in_shared_memory(self) -> int | None:
        """Return what was set, and what the workers map."""
        mapped = self.mapped * MIB * len(self.play.workers)
        return None if self.shmem is None else self.shmem + mapped

    def run(self, seconds: float) -> int:
        """Let time pass; return how many serve."""
        self.play.run(seconds)
        return self.play.ready

    def ask(self, requests: int = WARM_REQUESTS) -> None:
        """Let every worker answer so many."""
        for member in self.play.pool.members:
            member.slot.requests += requests

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the facts of each such event."""
        return [facts for name, facts in self.ears.heard if name == f"launcher.{event}"]

    @property
    def wanted(self) -> int:
        """How many there are to be."""
        return self.play.pool.wanted


def scene(stack: ExitStack, growth: Growth = GROWTH, workers: int = 1, **set_up: Any) -> Scene:
    """Return a pool that has just begun."""
    return Scene(stack.enter_context(begun(Rules(workers=workers, growth=growth))), growth, **set_up)


def settled(stack: ExitStack, workers: int, growth: Growth = GROWTH) -> Scene:
    """Return a pool of so many that were measured for the last time."""
    one = scene(stack, replace(growth, most_workers=workers))
    one.run(30)
    one.ask(WARM_REQUESTS * workers)
    one.run(30)
    assert (workers, Milestone.DONE) == (one.play.ready, one.pilot.milestone)
    return one
