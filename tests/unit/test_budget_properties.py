"""Does the sum hold for whatever a host gives and somebody asks for?"""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from launcher.budget import (
    ARBITER_BYTES,
    DEFAULT_WORKER_BYTES,
    FILES_BYTES,
    MONITOR_BYTES,
    Demand,
    Measured,
    Supply,
    fitting,
    plan_workers,
)
from launcher.errors import NoWorkerFits
from launcher.units import size_bytes
from support.budgets import GIB, MIB, SOURCE, named, planned


def supplies(least_bytes: int) -> st.SearchStrategy[Supply]:
    """Draw what a host may give, from `least_bytes` of memory on."""
    return st.builds(
        Supply,
        memory_bytes=st.integers(least_bytes, 64 * GIB),
        memory_source=st.just(SOURCE),
        memory_is_limited=st.booleans(),
        cpus=st.floats(0.01, 128, allow_nan=False),
        cpus_source=st.just("CPU affinity"),
        cpus_are_limited=st.booleans(),
        platform=st.sampled_from(["kubernetes", "heroku", "cloud-run", "fly", "container", "host"]),
    )


def measurements(largest_bytes: int) -> st.SearchStrategy[Measured]:
    """Draw what a pool may have been measured at."""
    sizes = st.integers(0, largest_bytes)
    return st.builds(
        lambda own, more, shared, files, shmem, monitor: Measured(
            own,
            shared,
            own + more,
            files,
            shmem,
            "measured at this start",
            provisional=False,
            monitor_bytes=monitor,
        ),
        st.integers(1, largest_bytes),
        *[sizes] * 5,
    )


def demands(least_bytes: int, least_share: float, largest_worker_bytes: int) -> st.SearchStrategy[Demand]:
    """Draw what may be asked for, without a number of workers."""
    return st.builds(
        Demand,
        max_workers=st.none() | st.integers(1, 64),
        memory=st.none() | st.floats(least_share, 1) | st.integers(least_bytes, 64 * GIB),
        memory_origin=st.just("--memory"),
        worker_estimate_bytes=st.none() | st.integers(1 * MIB, largest_worker_bytes),
        preload=st.booleans(),
        measured=st.none() | measurements(largest_worker_bytes // 8),
    )


# In these at least one worker fits, in the others perhaps none.
roomy = (demands(3 * GIB, 0.75, GIB), supplies(5 * GIB))
tight = (demands(1, 0.01, 4 * GIB), supplies(1))


def again(line: str) -> tuple[int, int]:
    """Return how many workers fit by the printed subtraction, and by the printed division, done with its numbers."""
    without_sources = re.sub(r" \([^÷()]*(?:\([^()]*\))?[^÷()]*\)(?= [−=÷]|$)", "", line)  # noqa: RUF001 - the sign of the sum
    difference, rest, worker = re.split(r" = (?=[−\d])|÷ ", without_sources.rpartition(" = ")[0])  # noqa: RUF001 - as above
    size = re.compile(r"\d+(?:\.\d+)? [KMGT]?i?B")
    limit, *taken = map(size_bytes, size.findall(difference))
    each = sum(map(size_bytes, size.findall(worker)))
    left = 0 if rest.startswith("−") else size_bytes(rest.strip())  # noqa: RUF001 - as above
    return max(0, limit - sum(taken)) // each, left // each


@given(*roomy)
def test_bounds(demand: Demand, supply: Supply) -> None:
    """A computed number is at least 1, never above the CPUs rounded up, the cap, or what fits."""
    budget = plan_workers(demand, supply)

    assert type(budget.workers) is int
    assert 1 <= budget.workers <= max(1, math.ceil(supply.cpus))
    assert demand.max_workers is None or budget.workers <= demand.max_workers
    assert budget.fits


@given(*roomy)
def test_regions_add_up(demand: Demand, supply: Supply) -> None:
    """What is used stays inside the limit: headroom, all that is taken, and all workers are its parts."""
    budget = plan_workers(demand, supply)

    limit, headroom, *taken = (region.bytes for region in budget.regions)
    each = sum(region.bytes for region in budget.regions if region.name in {"worker", "growth"})
    beside = sum(taken) - each
    assert supply.memory_bytes == limit
    assert limit - headroom == budget.budget_bytes
    assert min(headroom, beside) >= 0
    assert headroom + beside + budget.fitting * each <= limit < headroom + beside + (budget.fitting + 1) * each
    assert beside + budget.workers * each <= budget.budget_bytes
    assert all(region.source for region in budget.regions)


@given(*tight)
def test_the_guesses(demand: Demand, supply: Supply) -> None:
    """Without a measurement there are the guesses and the monitor; with one what was measured, and never less files."""
    regions = named(plan_workers(replace(demand, allow_overcommit=True), supply))
    measured, said = demand.measured, demand.worker_estimate_bytes

    assert max(MONITOR_BYTES, measured.monitor_bytes if measured else 0) == regions["monitor"]
    assert demand.preload == ("reload" in regions)
    if measured is None:
        assert (ARBITER_BYTES, said or DEFAULT_WORKER_BYTES) == (regions["arbiter"], regions["worker"])
        assert {"shared", "files", "shmem", "growth"}.isdisjoint(regions)
    else:
        assert (measured.shared_bytes, said or measured.worker_bytes) == (regions["shared"], regions["worker"])
        assert max(FILES_BYTES, measured.files_bytes) == regions["files"]
        assert measured.shmem_bytes == regions.get("shmem", 0)
        assert (said is None) == ("growth" in regions)


@given(*tight, st.integers(0, 64 * GIB))
def test_monotone_in_memory(demand: Demand, supply: Supply, more: int) -> None:
    """More memory never means fewer workers."""
    less, greater = planned(demand, supply), planned(demand, replace(supply, memory_bytes=supply.memory_bytes + more))

    assert (less.workers if less else 0) <= (greater.workers if greater else 0)


@given(*roomy, st.integers(1, 64))
def test_explicit_number_is_kept(demand: Demand, supply: Supply, workers: int) -> None:
    """An explicit number is started as it is, with a warning beside it exactly when it does not fit."""
    budget = plan_workers(replace(demand, workers=workers), supply)

    assert workers == budget.workers
    assert budget.fits != any("not fit" in warning for warning in budget.warnings)


@given(measurements(4 * GIB), st.integers(0, 64 * GIB), st.booleans(), st.integers(1, GIB), st.data())
def test_nothing_larger_lets_more_fit(
    measured: Measured,
    usable: int,
    preload: bool,  # noqa: FBT001 - drawn
    more: int,
    data: st.DataObject,
) -> None:
    """When anything that was measured grows, never do more workers fit; when the limit grows, never fewer."""
    name = data.draw(st.sampled_from([one.name for one in fields(Measured) if one.name.endswith("_bytes")]))
    grown = replace(measured, **{name: getattr(measured, name) + more})
    if name == "worker_bytes":
        grown = replace(grown, peak_bytes=max(grown.peak_bytes, grown.worker_bytes))
    fit = fitting(measured, usable, preload=preload)

    assert 0 <= fitting(grown, usable, preload=preload) <= fit <= fitting(measured, usable + more, preload=preload)
    assert fitting(measured, usable, preload=True) <= fitting(measured, usable, preload=False)


@given(*tight, st.integers(1, GIB))
def test_a_larger_estimate_lets_no_more_start(demand: Demand, supply: Supply, more: int) -> None:
    """When the estimate grows, never do more workers start."""
    estimate = demand.worker_estimate_bytes or DEFAULT_WORKER_BYTES
    small, large = (
        planned(replace(demand, worker_estimate_bytes=size), supply) for size in (estimate, estimate + more)
    )

    assert (large.workers if large else 0) <= (small.workers if small else 0)


@given(*tight)
def test_the_line_can_be_done_again(demand: Demand, supply: Supply) -> None:
    """The numbers of the printed line, refused ones too, give the printed number: subtraction and division."""
    budget = plan_workers(replace(demand, allow_overcommit=True), supply)
    line = budget.sum_line()

    assert (budget.fitting, budget.fitting) == again(line), line
    assert line.endswith(f" = {budget.fitting}")


@given(*tight)
def test_doing_as_told_helps(demand: Demand, supply: Supply) -> None:
    """A limit, or a size, as large as a refusal asks for holds a worker."""
    try:
        plan_workers(demand, supply)
    except NoWorkerFits as refused:
        if limit := re.search(r"limit (?:of|to) (\d+) MiB", refused.cure):
            supply = replace(supply, memory_bytes=int(limit[1]) * MIB)
        if "raise that" in refused.cure and (needs := re.search(r"needs (\d+) MiB", refused.cure)):
            demand = replace(demand, memory=int(needs[1]) * MIB)

    assert planned(demand, supply)
