"""How much memory does this control group hold that the kernel cannot take back?

Not what the group "uses": that counts the page cache, too, which the kernel gives up before it kills anybody. A group
may stand at its limit by cache alone and be in no danger. What stays is anonymous memory, shared memory (tmpfs with it,
which outlives its writer) and what the kernel itself keeps for the group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.limits.cgroups import Groups, read_groups
from launcher.limits.tree import Tree, whole

STAT = "memory.stat"
MEMINFO = "/proc/meminfo"
_KIB = 1024
# What v2 tells of the kernel's memory before Linux 5.18, which has the sum ("kernel"); stacks and unreclaimable slab
# are there since 4.18, percpu since 5.9, pagetables since 5.13 (cgroup-v2.rst of each).
_KERNEL_PARTS = ("kernel_stack", "pagetables", "percpu", "slab_unreclaimable")
# v1 does not tell slab that could be taken back from the rest of the kernel's memory, and a process that opens very
# many files has as much of it as there is room. What workers were measured at is far less than this: 0.2 MB each and
# their page tables, 1/512 of what they have (launcher.limits.footprint).
_FIRM_BYTES, _FIRM_PART = 32 << 20, 8
_SOCK = "sock"  # buffers of the network: charged to the group, never part of "kernel" (memcontrol.c: MEMCG_SOCK)


@dataclass(frozen=True, slots=True)
class GroupUsage:
    """Memory of a control group and of all below it, in bytes.

    anon_bytes: private memory of processes, counted once where a fork shares it.
    shmem_bytes: tmpfs, /dev/shm and shared mappings, whether or not their writer lives.
    kernel_bytes: page tables, stacks, buffers; in v2 without the slab that can be reclaimed. v1 does not tell that
        apart: there it is an upper bound (a process that opens very many files raises it).
    source: directory of the group.
    slab_bytes: so much of `kernel_bytes` is most likely slab that can be reclaimed.
    """

    anon_bytes: int
    shmem_bytes: int
    kernel_bytes: int
    source: str
    slab_bytes: int = 0

    @property
    def needed_bytes(self) -> int:
        """Bytes that only an end or a release gives back."""
        return self.anon_bytes + self.shmem_bytes + self.kernel_bytes - self.slab_bytes


Read = Callable[[Tree, str, Mapping[str, str]], GroupUsage | None]  # of a directory, and its memory.stat


class UsageReader:
    """Reads the usage again and again: where the group lies is found once, and again when it cannot be read."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Read below `root`, for recorded hosts."""
        self._root = root
        self._found: tuple[Read, str] | None = None

    def __call__(self) -> GroupUsage | None:
        """Return the usage; None where nothing tells (no memory controller, macOS). Never raises."""
        tree = Tree(self._root)
        if self._found is not None:
            read, directory = self._found
            if (usage := read(tree, directory, tree.table(f"{directory}/{STAT}"))) is not None:
                return usage
        self._found = None
        for read, directory in counting_groups(tree, read_groups(tree)):
            if (usage := read(tree, directory, tree.table(f"{directory}/{STAT}"))) is not None:
                self._found = read, directory
                return usage
        return None


def counting_groups(tree: Tree, groups: Groups) -> list[tuple[Read, str]]:
    """Return the groups that may count this process's memory, the likeliest first, and how each is read.

    Where the own v2 group has no memory controller, the next above that has one counts for it. The root of the host is
    passed over: it counts the whole machine and has no limit (nor, unlike the top of a namespace, a `memory.current`).
    """
    v2 = [(v2_usage, directory) for directory in groups.v2() if tree.exists(f"{directory}/memory.current")]
    return [*v2, *((v1_usage, directory) for directory in groups.v1("memory")[:1])]


def v2_usage(_tree: Tree, directory: str, stat: Mapping[str, str]) -> GroupUsage | None:
    """Return what a v2 group holds; `stat` is its memory.stat; None when that does not tell."""
    anon = _number(stat, "anon")
    if anon is None:
        return None
    kernel = _number(stat, "kernel")
    if kernel is None:
        kernel = sum(_number(stat, name) or 0 for name in _KERNEL_PARTS)
    else:
        kernel = max(kernel - (_number(stat, "slab_reclaimable") or 0), 0)  # their counters are not updated at once
    return GroupUsage(anon, _number(stat, "shmem") or 0, kernel + (_number(stat, _SOCK) or 0), directory)


def v1_usage(tree: Tree, directory: str, stat: Mapping[str, str]) -> GroupUsage | None:
    """Return the same of a v1 group, whose `total_` counts what is below it.

    Its `rss` is anonymous memory only (memory.rst, 5.2).
    """
    anon = _number(stat, "total_rss")
    if anon is None:
        return None
    shmem = _number(stat, "total_shmem") or 0
    kernel = whole(tree.text(f"{directory}/memory.kmem.usage_in_bytes") or "") or 0  # absent where booted with nokmem
    firm = _FIRM_BYTES + (anon + shmem) // _FIRM_PART
    return GroupUsage(anon, shmem, kernel, directory, slab_bytes=max(0, kernel - firm))


def machine_usage(meminfo: Mapping[str, str]) -> GroupUsage | None:
    """Return what the machine holds that it cannot take back, of /proc/meminfo's table (in kB); None when it says not.

    That is all that is not available: the kernel's own estimate, which knows what of cache and slab it would give up
    (proc_pid_meminfo(5), since Linux 3.14). What is neither anonymous nor shared of it is the kernel's.
    """
    total, available = (_number(meminfo, name) for name in ("MemTotal", "MemAvailable"))
    if total is None or available is None:
        return None
    needed = max(total - available, 0)
    shmem = min(_number(meminfo, "Shmem") or 0, needed)
    anon = min(_number(meminfo, "AnonPages") or 0, needed - shmem)
    return GroupUsage(anon * _KIB, shmem * _KIB, (needed - shmem - anon) * _KIB, MEMINFO)


def _number(stat: Mapping[str, str], name: str) -> int | None:
    return whole(stat.get(name, ""))
