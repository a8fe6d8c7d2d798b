"""Which limits hold for this process, taken together?

Reading takes a few dozen small files and no subprocess: it is on the way of every start.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.limits.cgroups import read_groups
from launcher.limits.cpus import read_cpus
from launcher.limits.memory import read_memory
from launcher.limits.platforms import read_platform
from launcher.limits.tree import Tree
from launcher.limits.values import Limit, Limits
from launcher.units import human_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.budget import Supply

__all__ = ["Limit", "Limits", "read_limits", "supply"]

# Rows of /proc/self/limits. They bind each process, not the pool: worth a note, no part of the sum.
_PER_PROCESS = ("Max address space", "Max data size")


def read_limits(
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
    *,
    affinity: int | None = None,
) -> Limits:
    """Return what may be used; odd, unreadable and absent files are passed over (and noted), never raised.

    `root` is put before every path, for recorded hosts; `affinity` is the number of CPUs the scheduler allows, by
    default the kernel's answer for this process.
    """
    tree = Tree(root)
    groups = read_groups(tree)
    memory, memory_is_limited = read_memory(tree, groups, environ)
    cpus, cpus_are_limited = read_cpus(tree, groups, affinity)
    platform = read_platform(tree, environ)
    _note_per_process(tree)
    return Limits(memory, memory_is_limited, cpus, cpus_are_limited, platform, tuple(tree.notes))


def supply(limits: Limits) -> Supply:
    """Return the same facts in the shape the arithmetic takes."""
    from launcher.budget import Supply  # the monitor reads limits for as long as the pool lives, and seldom sums

    return Supply(
        memory_bytes=int(limits.memory.value),
        memory_source=limits.memory.source,
        memory_is_limited=limits.memory_is_limited,
        cpus=limits.cpus.value,
        cpus_source=limits.cpus.source,
        cpus_are_limited=limits.cpus_are_limited,
        platform=limits.platform,
    )


def _note_per_process(tree: Tree) -> None:
    """Say which soft rlimits cap the memory of each single process."""
    for line in (tree.text("/proc/self/limits") or "").splitlines():
        name = next((name for name in _PER_PROCESS if line.startswith(name)), None)
        soft = line.removeprefix(name).split()[:1] if name else []
        if soft and soft[0].isdecimal():
            tree.note(f"{name} is {human_bytes(int(soft[0]))} for each process (rlimit)")
