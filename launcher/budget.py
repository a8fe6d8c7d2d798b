"""How many workers fit?

Arithmetic only: `launcher.limits` reads what there is, `launcher.settings` what was asked for. Every term carries its
source, so that a person can check the sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from launcher.errors import NoWorkerFits
from launcher.units import human_bytes

MIB = 1024**2
# Heroku's buildpack divides a dyno's memory by this much; a stated guess until a worker has been measured.
DEFAULT_WORKER_BYTES = 256 * MIB
DEFAULT_WORKER_SOURCE = "default, a guess until measured"
# gunicorn's arbiter without preload was measured at 34 MB resident; room for its page tables and our own thread.
ARBITER_BYTES = 64 * MIB
RELOAD_SOURCE = "--preload: a second copy of the application while a reload is under way"
ARBITER_SOURCE = "default, twice what gunicorn's was measured at"
# The kernel kills at a limit; on a host without one the rest of the machine needs its part.
SHARE_OF_LIMIT = 0.8
SHARE_OF_HOST = 0.5
_TIMES, _MINUS = "×", "−"  # noqa: RUF001 - a person reads a sum with the signs of a sum
_LEAST_PER_CORE = 2  # uvicorn-gunicorn images: max(int(WORKERS_PER_CORE * cpu_count), 2)


@dataclass(frozen=True, slots=True)
class Supply:
    """What kernel and platform give: bytes and CPUs, each with its source (`launcher.limits.supply` fills it)."""

    memory_bytes: int
    memory_source: str
    memory_is_limited: bool
    cpus: float
    cpus_source: str
    cpus_are_limited: bool
    platform: str


@dataclass(frozen=True, slots=True)
class Demand:
    """What was asked for; None is "not said".

    `workers` wins over the sum; `max_workers` caps the computed number only; both at least 1. `workers_per_core` is
    the retired images' setting. `memory`: a float in (0, 1] is a share of the limit, an int is bytes.
    `worker_estimate_bytes` is what one worker needs, at least 1.
    """

    workers: int | None = None
    workers_origin: str = "--workers"
    max_workers: int | None = None
    workers_per_core: float | None = None
    memory: float | int | None = None
    memory_origin: str = "default"
    worker_estimate_bytes: int | None = None
    worker_estimate_origin: str = "--worker-memory-estimate"
    allow_overcommit: bool = False
    preload: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """One term of the sum: `limit`, `headroom`, `arbiter`, `reload` (with --preload) or `worker` (one), in bytes."""

    name: str
    bytes: int
    source: str


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

    def sum_line(self) -> str:
        """Return the sum as one line that a person can check."""
        return _sum_line(self.regions)


def plan_workers(demand: Demand, supply: Supply) -> Budget:
    """Return the number of workers with its reason.

    N = min(ceil(CPUs), floor((limit x share - arbiter) / worker)); an explicit number wins over it; Kubernetes with
    no limit of either kind gets 1, because replication is the cluster's there.
    Raises NoWorkerFits when not one fits, unless overcommit is allowed.
    """
    usable = _usable_bytes(demand, supply)
    regions = _regions(demand, supply, usable)
    fitting = _fitting(regions)
    if fitting == 0 and not demand.allow_overcommit:
        raise _refusal(demand, regions)
    workers, because = _choice(demand, supply, fitting)
    return Budget(
        workers=workers,
        because=because,
        limit_bytes=supply.memory_bytes,
        limit_source=supply.memory_source,
        budget_bytes=usable,
        regions=regions,
        fits=workers <= fitting,
        warnings=(*_memory_warnings(demand, supply), *_fit_warnings(demand, regions, workers)),
    )


def _usable_bytes(demand: Demand, supply: Supply) -> int:
    """Return the part of the limit that may be used: never more than the limit itself."""
    if demand.memory is None:
        return int(supply.memory_bytes * (SHARE_OF_LIMIT if supply.memory_is_limited else SHARE_OF_HOST))
    if isinstance(demand.memory, float):
        return int(supply.memory_bytes * demand.memory)
    return min(demand.memory, supply.memory_bytes)


def _regions(demand: Demand, supply: Supply, usable: int) -> tuple[Region, ...]:
    """Return the terms of the sum, each with its source."""
    memory_origin = "default" if demand.memory is None else demand.memory_origin
    worker = Region("worker", DEFAULT_WORKER_BYTES, DEFAULT_WORKER_SOURCE)
    if demand.worker_estimate_bytes is not None:
        worker = Region("worker", demand.worker_estimate_bytes, demand.worker_estimate_origin)
    return (
        Region("limit", supply.memory_bytes, supply.memory_source),
        Region("headroom", supply.memory_bytes - usable, memory_origin),
        Region("arbiter", ARBITER_BYTES, ARBITER_SOURCE),
        *((Region("reload", worker.bytes, RELOAD_SOURCE),) if demand.preload else ()),
        worker,
    )


def _fitting(regions: tuple[Region, ...]) -> int:
    """Return how many workers fit, 0 included."""
    limit, *taken, worker = (region.bytes for region in regions)
    return max(0, limit - sum(taken)) // worker


def _choice(demand: Demand, supply: Supply, fitting: int) -> tuple[int, str]:
    """Return the number of workers and the sentence that says why."""
    if demand.workers is not None:
        return demand.workers, f"{demand.workers_origin} asks for {demand.workers}"
    if fitting == 0:
        return 1, "not one fits in memory, and overcommit is allowed"
    if _is_the_clusters(demand, supply):
        return 1, "Kubernetes sets neither a memory nor a CPU limit here: replication is the cluster's"
    computed, because = _computed(demand, supply, fitting)
    if demand.max_workers is not None and demand.max_workers < computed:
        return demand.max_workers, f"capped at {demand.max_workers} by the most workers allowed; else {because}"
    return computed, because


def _is_the_clusters(demand: Demand, supply: Supply) -> bool:
    """Return whether nothing says how much of the node is ours; a size or workers per core would be such a word."""
    unlimited = not (supply.memory_is_limited or supply.cpus_are_limited)
    says_how_much = isinstance(demand.memory, int) or demand.workers_per_core is not None
    return supply.platform == "kubernetes" and unlimited and not says_how_much


def _computed(demand: Demand, supply: Supply, fitting: int) -> tuple[int, str]:
    """Return min(CPUs, memory) and which of the two it was."""
    by_cpu, cpus = _by_cpu(demand, supply)
    if by_cpu < fitting:
        holds = "holds" if by_cpu == 1 else "hold"
        return by_cpu, f"{cpus} {holds} fewer than the {fitting} that fit in memory"
    if fitting < by_cpu:
        fit = "1 fits" if fitting == 1 else f"{fitting} fit"
        return fitting, f"{fit} in memory, fewer than {cpus} could hold"
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


def _memory_warnings(demand: Demand, supply: Supply) -> tuple[str, ...]:
    """Return what is odd about the memory itself."""
    limit = f"{human_bytes(supply.memory_bytes)} ({supply.memory_source})"
    if isinstance(demand.memory, int) and demand.memory > supply.memory_bytes:
        return (f"{human_bytes(demand.memory)} ({demand.memory_origin}) is more than {limit}: the limit counts",)
    if demand.memory is None and not supply.memory_is_limited and supply.platform != "host":
        share = _percent(_usable_bytes(demand, supply), supply.memory_bytes)
        return (f"no memory limit is visible on this platform ({supply.platform}): {share} of {limit} is used",)
    return ()


def _fit_warnings(demand: Demand, regions: tuple[Region, ...], workers: int) -> tuple[str, ...]:
    """Return the sentence that says how many fit, when that is fewer than will be started."""
    limit, worker = regions[0], regions[-1]
    fitting = _fitting(regions)
    if workers <= fitting:
        return ()
    asked = f" ({demand.workers_origin})" if demand.workers is not None else ""
    number = f"{workers} worker{'' if workers == 1 else 's'}{asked}"
    verb, fit = "does" if workers == 1 else "do", "fits" if fitting <= 1 else "fit"
    need = f"{number} {_TIMES} {human_bytes(worker.bytes)} ({worker.source}) {verb} not fit {human_bytes(limit.bytes)}"
    return (f"{need} ({limit.source}): {fitting or 'not one'} {fit}",)


def _sum_line(regions: tuple[Region, ...]) -> str:
    """Return `limit x share - arbiter = rest / worker = N`, with the sizes a person reads."""
    limit, headroom, *taken, worker = regions
    usable = limit.bytes - headroom.bytes
    rest = max(0, usable - sum(region.bytes for region in taken))
    without = " ".join(f"{_MINUS} {human_bytes(region.bytes)} {region.name}" for region in taken)
    return (
        f"{human_bytes(limit.bytes)} ({limit.source}) {_TIMES} {_percent(usable, limit.bytes)} ({headroom.source}) "
        f"{without} = {human_bytes(rest)} "
        f"÷ {human_bytes(worker.bytes)} per worker ({worker.source}) = {_fitting(regions)}"
    )


def _percent(part: int, whole: int) -> str:
    """Return `80 %`, with a decimal only where it says something."""
    return f"{round(100 * part / whole, 1) if whole else 0:g} %"


def _refusal(demand: Demand, regions: tuple[Region, ...]) -> NoWorkerFits:
    """Return the refusal with the itemised sum, and how large the limit would have to be."""
    limit, headroom, *taken, worker = regions
    usable = limit.bytes - headroom.bytes
    share = usable / limit.bytes if usable else SHARE_OF_LIMIT
    needed = sum(region.bytes for region in taken) + worker.bytes
    way_out = f"which is a limit of {_whole_mib(needed / share)} at this share: raise it, use more of it with --memory"
    if isinstance(demand.memory, int) and demand.memory < limit.bytes:
        way_out = f"more than {demand.memory_origin} gives: raise that"
    return NoWorkerFits(
        f"not one worker fits: {_sum_line(regions)}",
        cure=(
            f"the pool needs {_whole_mib(needed)}, {way_out}, say what a worker really needs with "
            "--worker-memory-estimate, or start one all the same with --allow-overcommit"
        ),
        detail="\n".join(f"{region.name}: {human_bytes(region.bytes)} ({region.source})" for region in regions),
    )


def _whole_mib(count: float) -> str:
    """Return the MiB that are enough: rounded up, so that doing as told does help."""
    return f"{math.ceil(count / MIB)} MiB"
