"""How many CPUs may be used?

The lowest of: CPU affinity, the cpuset, and the bandwidth quota (`cpu.max`, or `cpu.cfs_quota_us` of v1) over every
visible ancestor: a tighter parent throttles as much as the own group does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from launcher.limits.values import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.limits.cgroups import Groups
    from launcher.limits.tree import Tree

_DEFAULT_PERIOD_US = 100_000  # sched-bwc.rst and cgroup-v2.rst of the kernel


def read_cpus(tree: Tree, groups: Groups, affinity: int | None) -> tuple[Limit, bool]:
    """Return the usable CPUs (a quota may be a fraction) and whether they are fewer than the host's or on a quota."""
    allowed = affinity or _affinity()
    host = _host_cpus(tree) or allowed
    name = "CPU affinity" if allowed < host else "CPUs of the host"
    sets = [Limit(allowed, name), *_cpusets(tree, groups)]
    quotas = [*_v2_quotas(tree, groups), *_v1_quotas(tree, groups)]
    lowest = min([*sets, *quotas], key=lambda limit: limit.value)
    return lowest, bool(quotas) or lowest.value < host


def _affinity() -> int:
    """Return how many CPUs the scheduler may use for this process; macOS and Windows only know all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def _host_cpus(tree: Tree) -> int | None:
    """Return how many CPUs are online, from the kernel's list."""
    return _listed(tree, "/sys/devices/system/cpu/online")


def _cpusets(tree: Tree, groups: Groups) -> Iterator[Limit]:
    """Yield the sizes of the cpusets; `effective` already counts the ancestors."""
    for directories, names in (
        (groups.v2(), ("cpuset.cpus.effective",)),
        (groups.v1("cpuset"), ("cpuset.effective_cpus", "cpuset.cpus")),
    ):
        for directory in directories:
            size = next((size for name in names if (size := _listed(tree, f"{directory}/{name}"))), None)
            if size:
                yield Limit(size, f"cpuset of {directory}")


def _v2_quotas(tree: Tree, groups: Groups) -> Iterator[Limit]:
    """Yield the quotas of `cpu.max`: `QUOTA PERIOD` in microseconds, or `max PERIOD`."""
    for directory in groups.v2():
        path = f"{directory}/cpu.max"
        words = (tree.text(path) or "max").split() or ["max"]
        quota = None if words[0] == "max" else tree.as_number(words[0], path)
        period = tree.as_number(words[1], path) if len(words) > 1 else _DEFAULT_PERIOD_US
        yield from _quota(quota, period, directory)


def _v1_quotas(tree: Tree, groups: Groups) -> Iterator[Limit]:
    """Yield the quotas of the completely fair scheduler, -1 for none, over its period, both in microseconds."""
    for directory in groups.v1("cpu"):
        quota = tree.number(f"{directory}/cpu.cfs_quota_us", none=("-1",))
        period = quota and tree.number(f"{directory}/cpu.cfs_period_us")
        yield from _quota(quota, period or _DEFAULT_PERIOD_US, directory)


def _quota(quota_us: int | None, period_us: int | None, directory: str) -> Iterator[Limit]:
    """Yield the CPUs that a quota amounts to, when it is one."""
    if quota_us is not None and period_us is not None and quota_us > 0 and period_us > 0:
        cpus = quota_us / period_us
        yield Limit(cpus, f"cpu quota {cpus:g} of {directory}")


def _listed(tree: Tree, path: str) -> int | None:
    """Return how many numbers a kernel list such as `0-3,8` holds; None when empty, absent or (noted) odd."""
    text = tree.text(path)
    if not text:
        return None
    try:
        ranges = [(int(low), int(high or low)) for low, _, high in (part.partition("-") for part in text.split(","))]
    except ValueError:
        tree.note(f"{path} says {text[:40]!r}, which is not a list of CPUs: passed over")
        return None
    return sum(max(0, high - low + 1) for low, high in ranges) or None
