"""Which box and which words do the tests of the budget begin with?"""

from __future__ import annotations

from launcher.budget import Budget, Demand, Supply, plan_workers
from launcher.errors import NoWorkerFits

MIB, GIB = 1024**2, 1024**3
SOURCE = "cgroup v2 memory.max of /sys/fs/cgroup"
BOX = Supply(
    memory_bytes=2 * GIB,
    memory_source=SOURCE,
    memory_is_limited=True,
    cpus=8,
    cpus_source="CPU affinity",
    cpus_are_limited=False,
    platform="container",
)


def planned(demand: Demand, supply: Supply) -> Budget | None:
    """Return the budget, or None when not one worker fits."""
    try:
        return plan_workers(demand, supply)
    except NoWorkerFits:
        return None


def named(budget: Budget) -> dict[str, int]:
    """Return the bytes of each region."""
    return {region.name: region.bytes for region in budget.regions}
