"""How long did processes wait for memory?

The kernel's pressure stall information (psi.rst; since Linux 4.20, not in every kernel). A group that needs nearly all
of its limit and waits for nothing is full and well; one whose pages are taken away and read again stands still.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.limits.cgroups import read_groups
from launcher.limits.tree import Tree

MACHINE = "/proc/pressure/memory"
FOUND_S = 60.0  # as long as it is taken for granted who tells


@dataclass(frozen=True, slots=True)
class Stalls:
    """Percent of the last ten seconds in which some, or all that could have run, waited for memory.

    source: the file. `MACHINE` is about all processes of the machine: where a v1 group limits us it says little.
    """

    some_avg10: float
    full_avg10: float
    source: str


class StallsReader:
    """Reads it again and again: who tells is found once, again when it cannot be read, and each minute."""

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        """Read below `root`, for recorded hosts."""
        self._root, self._clock = root, clock
        self._path = ""
        self._found_at = 0.0

    def __call__(self) -> Stalls | None:
        """Return it, of our own v2 group if that tells, else of the machine; None where nothing tells. Never raises."""
        tree, now = Tree(self._root), self._clock()
        if self._path and now - self._found_at < FOUND_S and (stalls := _read(tree, self._path)) is not None:
            return stalls
        self._path, self._found_at = "", now
        # Our own only: what those beside us wait for is theirs. The root of a host, the only one without a cgroup.type
        # (cgroup-v2.rst, "Core Interface Files"), tells of the machine.
        own = [directory for directory in read_groups(tree).v2()[:1] if tree.exists(f"{directory}/cgroup.type")]
        paths = [f"{directory}/memory.pressure" for directory in own]
        for path in (*paths, MACHINE):
            if (stalls := _read(tree, path)) is not None:
                self._path = path
                return stalls
        return None


def _read(tree: Tree, path: str) -> Stalls | None:
    """Read the lines `some avg10=0.00 avg60=…` and `full …`."""
    rows = (line.split() for line in (tree.text(path) or "").splitlines())
    averages = {row[0]: _percent(row[1]) for row in rows if len(row) > 1}
    some, full = averages.get("some"), averages.get("full")
    return None if some is None or full is None else Stalls(some, full, path)


def _percent(text: str) -> float | None:
    name, _, value = text.partition("=")
    whole, _, part = value.partition(".")
    return float(value) if name == "avg10" and whole.isdecimal() and (part or "0").isdecimal() else None
