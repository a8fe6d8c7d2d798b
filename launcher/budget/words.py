"""How is the sum told to a person?

What is printed can be done again by hand and gives the same number: sizes are rounded only as far as that holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from launcher.budget.regions import Regions, one_worker, percent, room, room_for, taken
from launcher.budget.values import HEADROOM_BYTES, MIB, SHARE_OF_HOST, SHARE_OF_LIMIT, Demand, Supply
from launcher.errors import NoWorkerFits
from launcher.units import human_bytes, size_bytes

_TIMES, _MINUS = "×", "−"  # noqa: RUF001 - a person reads a sum with the signs of a sum
# The least a worker was measured to have for itself with --preload, 12 MB, and the least growth.
_LEAST_OWN_BYTES = 32 * MIB
_NEAR = 20  # the subtraction as it is written is off by at most 5 %

Row = tuple[str, str, str]
Size = Callable[[int], str]


def sum_line(regions: Regions) -> str:
    """Return `limit - headroom - ... = rest / worker = N`, with each number's source where it varies."""
    size, limit = _size_for(regions), regions[0]
    without = " ".join(f"{_MINUS} {_term(size(one.bytes), one.name, one.source)}" for one in taken(regions))
    return (
        f"{size(limit.bytes)} ({limit.source}) {without} = {_signed(size, room(regions))} "
        f"÷ {_per_worker(regions, size)} = {room_for(regions)}"
    )


def sum_rows(regions: Regions) -> list[Row]:
    """Return region, size with its sign, and source; the last two rows are what is left, and how many fit into it."""
    size, limit = _size_for(regions), regions[0]
    own = one_worker(regions)
    worker, left = sum(one.bytes for one in own), room(regions)
    fit = room_for(regions)
    return [
        (limit.name, size(limit.bytes), limit.source),
        *((one.name, f"{_MINUS} {size(one.bytes)}", one.source) for one in taken(regions)),
        ("for workers", f"= {_signed(size, left)}", "what is left"),
        *((one.name, size(one.bytes), one.source) for one in own),
        ("fit", str(fit), f"{size(left)} ÷ {size(worker)}, rounded down" if left > 0 else "nothing is left"),
    ]


def warnings(demand: Demand, supply: Supply, regions: Regions, workers: int) -> tuple[str, ...]:
    """Return what is odd about the memory, and what will not fit."""
    return (*_memory_warnings(demand, supply), *_fit_warnings(demand, supply, regions, workers))


def hint(demand: Demand, regions: Regions, workers: int) -> str:
    """Return how `workers` could fit after all when they share what they load; empty when even that is too much.

    Counted with care: all of a worker as shared, and once more for a reload (`--preload`), beside what each has.
    """
    if demand.preload and demand.measured is not None:
        return ""  # what they share has been measured and is in the sum
    copies = 1 if demand.preload else 2  # the other is there already: the region `reload`
    each = (room(regions) - copies * sum(one.bytes for one in one_worker(regions))) // workers
    if each < _LEAST_OWN_BYTES:
        return ""
    can = f"{workers} could" if demand.preload else f"--preload could make {workers} possible"
    return f"; {can}, if the workers share all but {each // MIB} MiB of it"


def refusal(demand: Demand, supply: Supply, regions: Regions) -> NoWorkerFits:
    """Return the refusal with the itemised sum, and how large the limit would have to be."""
    beside = sum(one.bytes for one in taken(regions) if one.name != "headroom")
    needed = beside + sum(one.bytes for one in one_worker(regions))
    return NoWorkerFits(
        f"not one worker fits: {sum_line(regions)}",
        cure=(
            f"the pool needs {_whole_mib(needed)}, {_way_out(demand, supply, needed)}, say what a worker really needs "
            "with --worker-memory-estimate, or start one all the same with --allow-overcommit"
        ),
        detail="\n".join(f"{one.name}: {human_bytes(one.bytes)} ({one.source})" for one in regions),
    )


def _size_for(regions: Regions) -> Size:
    """Return how to write the sizes: with as few decimals as give the number of workers again, else in bytes."""
    return next((size for size in _sizes() if _gives_it_again(regions, size)), _in_bytes)


def _sizes() -> Iterator[Size]:
    yield human_bytes
    yield _in_mib


def _in_mib(count: int) -> str:
    """Return `123.45 MiB`, for sums in which a tenth of a GiB decides."""
    return f"{count / MIB:.2f}".rstrip("0").rstrip(".") + " MiB"


def _in_bytes(count: int) -> str:
    return f"{count} B"


def _signed(size: Size, count: int) -> str:
    """Return a size that may be less than nothing."""
    return size(count) if count >= 0 else f"{_MINUS}{size(-count)}"


def _gives_it_again(regions: Regions, size: Size) -> bool:
    """Return whether both the subtraction and the division come out right with the sizes as they are written."""

    def read(count: int) -> int:
        return size_bytes(size(abs(count))) * (1 if count >= 0 else -1)

    left = read(regions[0].bytes) - sum(read(one.bytes) for one in taken(regions))
    worker = sum(read(one.bytes) for one in one_worker(regions))
    true, fit = room(regions), room_for(regions)
    same = worker > 0 and all(max(0, rest) // worker == fit for rest in (left, read(true)))
    return same and abs(left - true) <= abs(true) / _NEAR


def _term(size: str, name: str, source: str) -> str:
    """Return one thing that is taken; only what varies with host and settings names its source in the line."""
    return f"{size} {name} ({source})" if name == "headroom" else f"{size} {name}"


def _per_worker(regions: Regions, size: Size) -> str:
    worker, *growth = one_worker(regions)
    if not growth:
        return f"{size(worker.bytes)} per worker ({worker.source})"
    return f"({size(worker.bytes)} + {size(growth[0].bytes)} growth) per worker ({worker.source})"


def _memory_warnings(demand: Demand, supply: Supply) -> tuple[str, ...]:
    """Return what is odd about the memory itself."""
    limit = f"{human_bytes(supply.memory_bytes)} ({supply.memory_source})"
    if isinstance(demand.memory, int) and demand.memory > supply.memory_bytes:
        return (f"{human_bytes(demand.memory)} ({demand.memory_origin}) is more than {limit}: the limit counts",)
    if demand.memory is None and not supply.memory_is_limited and supply.platform != "host":
        share = percent(SHARE_OF_HOST)
        return (f"no memory limit is visible on this platform ({supply.platform}): {share} of {limit} is used",)
    return ()


def _fit_warnings(demand: Demand, supply: Supply, regions: Regions, workers: int) -> tuple[str, ...]:
    """Return the sentence that says how many fit, when that is fewer than will be started."""
    fit = room_for(regions)
    if workers <= fit:
        return ()
    size = _size_for(regions)
    asked = f" ({demand.workers_origin})" if demand.workers is not None else ""
    number = f"{workers} worker{'' if workers == 1 else 's'}{asked}"
    verb, fits = "does" if workers == 1 else "do", "fits" if fit <= 1 else "fit"
    source = one_worker(regions)[0].source
    each = size(sum(one.bytes for one in one_worker(regions)))
    left = f"with {size(max(0, room(regions)))} left for workers"
    need = f"{number} {_TIMES} {each} ({source}) {verb} not fit {_whole(demand, supply)}"
    return (f"{need}, {left}: {fit or 'not one'} {fits}{hint(demand, regions, workers)}",)


def _whole(demand: Demand, supply: Supply) -> str:
    """Return what the pool was given: the size that was asked for, or the limit."""
    if isinstance(demand.memory, int) and demand.memory < supply.memory_bytes:
        return f"{human_bytes(demand.memory)} ({demand.memory_origin})"
    return f"{human_bytes(supply.memory_bytes)} ({supply.memory_source})"


def _way_out(demand: Demand, supply: Supply, needed: int) -> str:
    """Return what has to be larger, and how large."""
    limit = _whole_mib(_limit_for(demand, supply, needed))
    if isinstance(demand.memory, int) and demand.memory < needed:
        and_limit = f", and the limit to {limit}" if supply.memory_bytes < needed else ""
        return f"more than {demand.memory_origin} gives: raise that{and_limit}"
    return f"which is a limit of {limit} at this share: raise it, use more of it with --memory"


def _limit_for(demand: Demand, supply: Supply, needed: int) -> float:
    """Return the limit of which `needed` bytes may be used."""
    if isinstance(demand.memory, int):
        return needed
    if demand.memory is not None:
        return needed / demand.memory
    if supply.memory_is_limited:
        return max(needed / SHARE_OF_LIMIT, needed + HEADROOM_BYTES)
    return needed / SHARE_OF_HOST


def _whole_mib(count: float) -> str:
    """Return the MiB that are enough: rounded up, so that doing as told does help."""
    return f"{math.ceil(count / MIB)} MiB"
