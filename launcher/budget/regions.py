"""Which terms has the sum, and how many workers does it leave room for?

N = (limit - headroom - shared - files - shmem - monitor - reload) / (worker + growth), rounded down. Until it
has been measured there are two guesses: one for the arbiter, and one for a worker with all that it may grow by.
"""

from __future__ import annotations

from launcher.budget.values import (
    ARBITER_BYTES,
    DEFAULT_WORKER_BYTES,
    DEFAULT_WORKER_SOURCE,
    FILES_BYTES,
    GROWTH_BYTES,
    GROWTH_DIVISOR,
    HEADROOM_BYTES,
    MONITOR_BYTES,
    SHARE_OF_HOST,
    SHARE_OF_LIMIT,
    Demand,
    Measured,
    Region,
    Supply,
)
from launcher.units import human_bytes

RELOAD_SOURCE = "--preload: a second copy of the application while a reload is under way"
ARBITER_SOURCE = "default, twice what gunicorn's was measured at"
MONITOR_SOURCE = "default, the monitor's process"
FILES_SOURCE = "least, for the code of the libraries in use"
_OF_ONE_WORKER = ("worker", "growth")

Regions = tuple[Region, ...]


def fitting(measured: Measured, usable_bytes: int, *, preload: bool) -> int:
    """Return how many workers of the measured size fit into `usable_bytes`, 0 included."""
    usable = Region("limit", usable_bytes, "")
    return room_for((usable, *_measured_regions(measured, preload=preload), *_measured_worker(measured)))


def usable_bytes(demand: Demand, supply: Supply) -> int:
    """Return the part of the limit that may be used: never more than the limit itself."""
    limit = supply.memory_bytes
    if isinstance(demand.memory, int):
        return min(demand.memory, limit)
    if demand.memory is not None:
        return min(round(limit * demand.memory), limit)
    if supply.memory_is_limited:
        return max(0, min(round(limit * SHARE_OF_LIMIT), limit - HEADROOM_BYTES))
    return round(limit * SHARE_OF_HOST)


def regions_of(demand: Demand, supply: Supply) -> Regions:
    """Return the terms of the sum, each with its source."""
    usable = usable_bytes(demand, supply)
    limit = Region("limit", supply.memory_bytes, supply.memory_source)
    headroom = Region("headroom", supply.memory_bytes - usable, _headroom_source(demand, supply, usable))
    rest = _guessed(demand) if demand.measured is None else _measured(demand, demand.measured)
    return (limit, headroom, *rest)


def _guessed(demand: Demand) -> Regions:
    worker = _estimated_worker(demand) or (Region("worker", DEFAULT_WORKER_BYTES, DEFAULT_WORKER_SOURCE),)
    reloads = (Region("reload", worker[0].bytes, RELOAD_SOURCE),) if demand.preload else ()
    return (Region("arbiter", ARBITER_BYTES, ARBITER_SOURCE), _monitor(), *reloads, *worker)


def _measured(demand: Demand, measured: Measured) -> Regions:
    worker = _estimated_worker(demand, measured) or _measured_worker(measured)
    return (*_measured_regions(measured, preload=demand.preload), *worker)


def room(regions: Regions) -> int:
    """Return the bytes that are left for workers; negative when what is taken is more than the limit."""
    limit, *others = regions
    return limit.bytes - sum(one.bytes for one in others if one.name not in _OF_ONE_WORKER)


def one_worker(regions: Regions) -> Regions:
    """Return what one worker takes: itself, and what it may grow by."""
    return tuple(one for one in regions if one.name in _OF_ONE_WORKER)


def taken(regions: Regions) -> Regions:
    """Return what is taken from the limit before any worker."""
    return tuple(one for one in regions[1:] if one.name not in _OF_ONE_WORKER)


def room_for(regions: Regions) -> int:
    """Return how many workers fit, 0 included."""
    return max(0, room(regions)) // sum(one.bytes for one in one_worker(regions))


def growth_bytes(measured: Measured) -> int:
    """Return what a worker may grow by beyond what it was measured at."""
    worker = measured.worker_bytes
    return max(worker // GROWTH_DIVISOR, GROWTH_BYTES, measured.peak_bytes - worker)


def _headroom_source(demand: Demand, supply: Supply, usable: int) -> str:
    """Return who said how much is left alone, and as what: a share, a size or the least there must be."""
    if isinstance(demand.memory, int):
        return f"{demand.memory_origin}, all but {human_bytes(usable)}"
    if demand.memory is not None:
        return f"{demand.memory_origin}, all but {percent(demand.memory)}"
    if not supply.memory_is_limited:
        return f"default, all but {percent(SHARE_OF_HOST)} of a machine without a limit"
    if usable < round(supply.memory_bytes * SHARE_OF_LIMIT):
        return f"default, at least {human_bytes(HEADROOM_BYTES)}"
    return f"default, all but {percent(SHARE_OF_LIMIT)}"


def percent(share: float) -> str:
    """Return `80 %`, with a decimal only where it says something."""
    return f"{round(100 * share, 1):g} %"


def _measured_regions(measured: Measured, *, preload: bool) -> Regions:
    """Return what a measured pool takes beside its workers."""
    files = Region("files", max(measured.files_bytes, FILES_BYTES), measured.source)
    if measured.files_bytes < FILES_BYTES:
        files = Region("files", FILES_BYTES, FILES_SOURCE)
    return (
        Region("shared", measured.shared_bytes, _said(measured)),
        files,
        *((Region("shmem", measured.shmem_bytes, measured.source),) if measured.shmem_bytes > 0 else ()),
        _monitor(measured),
        *((Region("reload", measured.shared_bytes, RELOAD_SOURCE),) if preload else ()),
    )


def _monitor(measured: Measured | None = None) -> Region:
    if measured is not None and measured.monitor_bytes > MONITOR_BYTES:
        return Region("monitor", measured.monitor_bytes, measured.source)
    return Region("monitor", MONITOR_BYTES, MONITOR_SOURCE)


def _measured_worker(measured: Measured) -> Regions:
    worker, growth = measured.worker_bytes, growth_bytes(measured)
    if growth == measured.peak_bytes - worker:
        because = f"up to the most a worker ever had, {human_bytes(measured.peak_bytes)}"
    elif growth == worker // GROWTH_DIVISOR:
        because = f"{percent(1 / GROWTH_DIVISOR)} of a worker"
    else:
        because = "the least"
    return (Region("worker", worker, _said(measured)), Region("growth", growth, because))


def _estimated_worker(demand: Demand, measured: Measured | None = None) -> Regions:
    """Return what was said of a worker, if it was: all it will ever take, so nothing is added for growth."""
    if demand.worker_estimate_bytes is None:
        return ()
    source = demand.worker_estimate_origin
    if measured is not None:
        source += f"; {human_bytes(measured.worker_bytes)} were {_said(measured)}"
    return (Region("worker", demand.worker_estimate_bytes, source),)


def _said(measured: Measured) -> str:
    return f"{measured.source}, before traffic" if measured.provisional else measured.source
