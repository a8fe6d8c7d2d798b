"""How many workers are started, and why that many?"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from launcher.budget.regions import regions_of, room, room_for, usable_bytes
from launcher.budget.values import LEAST_WORKER_BYTES, Demand, Region, Supply
from launcher.budget.words import Row, hint, refusal, sum_line, sum_rows, warnings

_LEAST_PER_CORE = 2  # uvicorn-gunicorn images: max(int(WORKERS_PER_CORE * cpu_count), 2)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many workers to start and why; `budget_bytes` is the part of the limit that may be used.

    `fits` is False when more memory than that was asked for, or not even one worker has room.
    """

    workers: int
    because: str
    limit_bytes: int
    limit_source: str
    budget_bytes: int
    regions: tuple[Region, ...]
    fits: bool
    warnings: tuple[str, ...]

    @property
    def fitting(self) -> int:
        """How many workers memory has room for, 0 included, whatever is started."""
        return room_for(self.regions)

    @property
    def room_bytes(self) -> int:
        """What is left for workers; negative when what is taken is more than the limit."""
        return room(self.regions)

    def sum_line(self) -> str:
        """Return the sum as one line that a person can check."""
        return sum_line(self.regions)

    def sum_rows(self) -> list[Row]:
        """Return the same sum as the rows of a table: region, size with its sign, source."""
        return sum_rows(self.regions)


def plan_workers(demand: Demand, supply: Supply) -> Budget:
    """Return the number of workers with its reason.

    N = min(ceil(CPUs), what memory has room for: `launcher.budget.regions`); an explicit number wins over it;
    Kubernetes with no limit of either kind gets 1, because replication is the cluster's there.
    Raises NoWorkerFits when not one fits, unless overcommit is allowed. By a guess alone only what could be no
    application at all does not fit: others are started, and measured.
    """
    regions = regions_of(demand, supply)
    fit = room_for(regions)
    if fit == 0 and not demand.allow_overcommit and not _may_fit(demand, supply):
        raise refusal(demand, supply, regions)
    workers, because = _choice(demand, supply, regions)
    return Budget(
        workers=workers,
        because=because,
        limit_bytes=supply.memory_bytes,
        limit_source=supply.memory_source,
        budget_bytes=usable_bytes(demand, supply),
        regions=regions,
        fits=workers <= fit,
        warnings=warnings(demand, supply, regions, workers),
    )


def _choice(demand: Demand, supply: Supply, regions: tuple[Region, ...]) -> tuple[int, str]:
    """Return the number of workers and the sentence that says why."""
    fit = room_for(regions)
    if demand.workers is not None:
        return demand.workers, f"{demand.workers_origin} asks for {demand.workers}"
    if fit == 0 and demand.allow_overcommit:
        return 1, "not one fits in memory, and overcommit is allowed"
    if fit == 0:
        return 1, "not one fits in memory, one smaller than was guessed may"
    if _is_the_clusters(demand, supply):
        return 1, "Kubernetes sets neither a memory nor a CPU limit here: replication is the cluster's"
    computed, because = _computed(demand, supply, regions)
    if demand.max_workers is not None and demand.max_workers < computed:
        return demand.max_workers, f"capped at {demand.max_workers} by the most workers allowed; else {because}"
    return computed, because


def _may_fit(demand: Demand, supply: Supply) -> bool:
    """Tell whether a worker may turn out to fit, of whose size nothing is known."""
    if demand.measured is not None or demand.worker_estimate_bytes is not None:
        return False
    return room_for(regions_of(dataclasses.replace(demand, worker_estimate_bytes=LEAST_WORKER_BYTES), supply)) > 0


def _is_the_clusters(demand: Demand, supply: Supply) -> bool:
    """Return whether nothing says how much of the node is ours; a size or workers per core would be such a word."""
    unlimited = not (supply.memory_is_limited or supply.cpus_are_limited)
    says_how_much = isinstance(demand.memory, int) or demand.workers_per_core is not None
    return supply.platform == "kubernetes" and unlimited and not says_how_much


def _computed(demand: Demand, supply: Supply, regions: tuple[Region, ...]) -> tuple[int, str]:
    """Return min(CPUs, memory) and which of the two it was."""
    fit = room_for(regions)
    by_cpu, cpus = _by_cpu(demand, supply)
    if by_cpu < fit:
        holds = "holds" if by_cpu == 1 else "hold"
        return by_cpu, f"{cpus} {holds} fewer than the {fit} that fit in memory"
    if fit < by_cpu:
        number = "1 fits" if fit == 1 else f"{fit} fit"
        # A size that somebody knows is worth advice; the guess for one is not.
        advice = hint(demand, regions, by_cpu) if demand.worker_estimate_bytes or demand.measured else ""
        return fit, f"{number} in memory, fewer than {cpus} could hold{advice}"
    return by_cpu, f"{cpus} could hold {by_cpu}, and just as many fit in memory"


def _by_cpu(demand: Demand, supply: Supply) -> tuple[int, str]:
    """Return how many workers the CPUs are for, and the CPUs in words."""
    # A quota is a quotient of whole microseconds: what lies beyond the sixth decimal is the float's, not the user's.
    cpus = max(1, math.ceil(round(supply.cpus, 6)))
    words = f"{cpus} CPU{'' if cpus == 1 else 's'} ({supply.cpus_source})"
    if demand.workers_per_core is None:
        return cpus, words
    workers = max(int(demand.workers_per_core * supply.cpus), _LEAST_PER_CORE)
    return workers, f"{words} at {demand.workers_per_core:g} workers per core, at least {_LEAST_PER_CORE},"
