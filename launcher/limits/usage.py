"""How much memory does this control group hold that the kernel cannot take back?

Not what the group "uses": that counts the page cache, too, which the kernel gives up before it kills anybody. A group
may stand at its limit by cache alone and be in no danger. What stays is anonymous memory, shared memory (tmpfs with it,
which outlives its writer) and what the kernel itself keeps for the group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.limits.cgroups import read_groups
from launcher.limits.tree import Tree

_STAT = "memory.stat"
# What v2 tells of the kernel's memory before Linux 5.18, which has the sum ("kernel"); stacks and unreclaimable slab
# are there since 4.18, percpu since 5.9, pagetables since 5.13 (cgroup-v2.rst of each).
_KERNEL_PARTS = ("kernel_stack", "pagetables", "percpu", "slab_unreclaimable")
_SOCK = "sock"  # buffers of the network: charged to the group, never part of "kernel" (memcontrol.c: MEMCG_SOCK)


@dataclass(frozen=True, slots=True)
class GroupUsage:
    """Memory of a control group and of all below it, in bytes.

    anon_bytes: private memory of processes, counted once where a fork shares it.
    shmem_bytes: tmpfs, /dev/shm and shared mappings, whether or not their writer lives.
    kernel_bytes: page tables, stacks, buffers; in v2 without the slab that can be reclaimed. v1 does not tell that
        apart: there it is an upper bound (a process that opens very many files raises it).
    source: directory of the group.
    """

    anon_bytes: int
    shmem_bytes: int
    kernel_bytes: int
    source: str

    @property
    def needed_bytes(self) -> int:
        """Bytes that only an end or a release gives back."""
        return self.anon_bytes + self.shmem_bytes + self.kernel_bytes


_Read = Callable[[Tree, str], GroupUsage | None]


class UsageReader:
    """Reads the usage again and again: where the group lies is found once, and again when it cannot be read."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Read below `root`, for recorded hosts."""
        self._root = root
        self._found: tuple[_Read, str] | None = None

    def __call__(self) -> GroupUsage | None:
        """Return the usage; None where nothing tells (no memory controller, macOS). Never raises."""
        tree = Tree(self._root)
        if self._found is not None:
            read, directory = self._found
            if (usage := read(tree, directory)) is not None:
                return usage
        self._found = None
        for read, directory in _candidates(tree):
            if (usage := read(tree, directory)) is not None:
                self._found = read, directory
                return usage
        return None


def _candidates(tree: Tree) -> list[tuple[_Read, str]]:
    """Return the groups that may count this process's memory, the likeliest first.

    Where the own v2 group has no memory controller, the next above that has one counts for it. The root of the host is
    passed over: it counts the whole machine and has no limit (nor, unlike the top of a namespace, a `memory.current`).
    """
    groups = read_groups(tree)
    v2 = [(_v2, directory) for directory in groups.v2() if tree.exists(f"{directory}/memory.current")]
    return [*v2, *((_v1, directory) for directory in groups.v1("memory")[:1])]


def _v2(tree: Tree, directory: str) -> GroupUsage | None:
    stat = tree.table(f"{directory}/{_STAT}")
    anon = _number(stat, "anon")
    if anon is None:
        return None
    kernel = _number(stat, "kernel")
    if kernel is None:
        kernel = sum(_number(stat, name) or 0 for name in _KERNEL_PARTS)
    else:
        kernel = max(kernel - (_number(stat, "slab_reclaimable") or 0), 0)  # their counters are not updated at once
    return GroupUsage(anon, _number(stat, "shmem") or 0, kernel + (_number(stat, _SOCK) or 0), directory)


def _v1(tree: Tree, directory: str) -> GroupUsage | None:
    """Read v1, whose `total_` counts what is below, and whose `rss` is anonymous memory only (memory.rst, 5.2)."""
    stat = tree.table(f"{directory}/{_STAT}")
    anon = _number(stat, "total_rss")
    if anon is None:
        return None
    kernel = tree.text(f"{directory}/memory.kmem.usage_in_bytes") or ""  # absent where booted with nokmem
    return GroupUsage(anon, _number(stat, "total_shmem") or 0, int(kernel) if kernel.isdecimal() else 0, directory)


def _number(stat: Mapping[str, str], name: str) -> int | None:
    text = stat.get(name, "")
    return int(text) if text.isdecimal() else None
