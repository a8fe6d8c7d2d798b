"""How many workers fit, and does the sum say so in words a person can check?"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.budget import ARBITER_BYTES, DEFAULT_WORKER_BYTES, Budget, Demand, Supply, plan_workers
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
UNLIMITED = replace(BOX, memory_bytes=16 * GIB, memory_source="MemTotal of the host", memory_is_limited=False)


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


def demands(least_bytes: int, least_share: float, largest_worker_bytes: int) -> st.SearchStrategy[Demand]:
    """Draw what may be asked for, without a number of workers."""
    return st.builds(
        Demand,
        max_workers=st.none() | st.integers(1, 64),
        memory=st.none() | st.floats(least_share, 1) | st.integers(least_bytes, 64 * GIB),
        memory_origin=st.just("--memory"),
        worker_estimate_bytes=st.none() | st.integers(1 * MIB, largest_worker_bytes),
    )


# In these at least one worker fits, in the others perhaps none.
roomy = (demands(ARBITER_BYTES + GIB, 0.75, GIB), supplies(3 * GIB))
tight = (demands(1, 0.01, 4 * GIB), supplies(1))


def planned(demand: Demand, supply: Supply) -> Budget | None:
    """Return the budget, or None when not one worker fits."""
    try:
        return plan_workers(demand, supply)
    except NoWorkerFits:
        return None


def test_memory_is_the_narrow_part() -> None:
    """With more CPUs than room, memory decides, and the sum reads as it is done by hand."""
    budget = plan_workers(Demand(), BOX)

    assert (6, True, ()) == (budget.workers, budget.fits, budget.warnings)
    assert "6 fit in memory, fewer than 8 CPUs (CPU affinity) could hold" == budget.because
    assert (
        "2 GiB (cgroup v2 memory.max of /sys/fs/cgroup) × 80 % (default) "  # noqa: RUF001 - the sign of the sum
        "− 64 MiB arbiter = 1.5 GiB ÷ 256 MiB per worker (default, a guess until measured) = 6"  # noqa: RUF001 - as above
    ) == budget.sum_line()


def test_cpus_are_the_narrow_part() -> None:
    """With more room than CPUs, the CPUs decide and the reason says how many would fit."""
    budget = plan_workers(Demand(), replace(BOX, cpus=2))

    assert (2, "2 CPUs (CPU affinity) hold fewer than the 6 that fit in memory") == (budget.workers, budget.because)


def test_quota_is_rounded_up() -> None:
    """One and a half CPUs are for two workers."""
    budget = plan_workers(Demand(), replace(BOX, cpus=1.5, cpus_source="cpu quota 1.5 of /sys/fs/cgroup"))

    assert 2 == budget.workers


def test_as_many_cpus_as_room() -> None:
    """When both allow the same number the reason says both."""
    budget = plan_workers(Demand(), replace(BOX, cpus=6))

    assert "6 CPUs (CPU affinity) could hold 6, and just as many fit in memory" == budget.because


def test_too_many_asked_for() -> None:
    """A 1 GiB model with 4 workers asked for and 3 GiB: the 4 are kept, and it is said that 2 fit."""
    budget = plan_workers(Demand(workers=4, worker_estimate_bytes=GIB), replace(BOX, memory_bytes=3 * GIB))

    assert (4, False, "--workers asks for 4") == (budget.workers, budget.fits, budget.because)
    assert (
        f"4 workers (--workers) × 1 GiB (--worker-memory-estimate) do not fit 3 GiB ({SOURCE}): 2 fit",  # noqa: RUF001 - the sign of the sum
    ) == budget.warnings


def test_free_to_choose() -> None:
    """The same model in the same memory with no number asked for gets 2 workers."""
    budget = plan_workers(Demand(worker_estimate_bytes=GIB), replace(BOX, memory_bytes=3 * GIB))

    assert (2, True, ()) == (budget.workers, budget.fits, budget.warnings)


def test_fewer_asked_for() -> None:
    """A number that fits is taken without a word."""
    budget = plan_workers(Demand(workers=1, workers_origin="WEB_CONCURRENCY"), BOX)

    assert (1, True, "WEB_CONCURRENCY asks for 1", ()) == (
        budget.workers,
        budget.fits,
        budget.because,
        budget.warnings,
    )


@pytest.mark.parametrize("workers", [None, 2])
def test_not_one_fits(workers: int | None) -> None:
    """When not one worker fits it is refused, with every term, whatever was asked for."""
    with pytest.raises(NoWorkerFits) as caught:
        plan_workers(Demand(workers=workers, worker_estimate_bytes=GIB), replace(BOX, memory_bytes=GIB))

    assert 12 == caught.value.exit_code
    assert f"1 GiB ({SOURCE})" in caught.value.message
    assert "a limit of 1361 MiB at this share" in caught.value.cure
    assert "--allow-overcommit" in caught.value.cure
    assert ["limit", "headroom", "arbiter", "worker"] == [
        line.partition(":")[0] for line in caught.value.detail.splitlines()
    ]


def test_the_cure_cures() -> None:
    """A limit as large as the refusal asks for holds one worker."""
    budget = plan_workers(Demand(worker_estimate_bytes=GIB), replace(BOX, memory_bytes=1361 * MIB))

    assert (1, True) == (budget.workers, budget.fits)


@pytest.mark.parametrize(("workers", "started"), [(None, 1), (3, 3)])
def test_overcommit(workers: int | None, started: int) -> None:
    """With overcommit allowed one starts where none fits, or as many as were asked for, with a warning."""
    demand = Demand(workers=workers, worker_estimate_bytes=GIB, allow_overcommit=True)
    budget = plan_workers(demand, replace(BOX, memory_bytes=GIB))

    assert (started, False) == (budget.workers, budget.fits)
    assert budget.warnings[0].endswith("not one fits")


def test_kubernetes_without_limits() -> None:
    """In Kubernetes with neither limit there is one worker, and it is said why."""
    budget = plan_workers(Demand(), replace(UNLIMITED, platform="kubernetes"))

    assert (1, "Kubernetes sets neither a memory nor a CPU limit here: replication is the cluster's") == (
        budget.workers,
        budget.because,
    )


@pytest.mark.parametrize(
    ("demand", "supply", "workers"),
    [
        (Demand(workers=3), replace(UNLIMITED, platform="kubernetes"), 3),
        (Demand(), replace(UNLIMITED, platform="kubernetes", cpus=2, cpus_are_limited=True), 2),
        (Demand(), replace(BOX, platform="kubernetes"), 6),
        (Demand(memory=GIB, memory_origin="--memory"), replace(UNLIMITED, platform="kubernetes"), 3),
    ],
)
def test_kubernetes_with_a_word(demand: Demand, supply: Supply, workers: int) -> None:
    """In Kubernetes one limit, a number of workers or a size is enough for the usual sum."""
    budget = plan_workers(demand, supply)

    assert workers == budget.workers


def test_host_without_limit() -> None:
    """A host without a limit gives half of its memory: said in a container, ordinary on a machine."""
    in_container, on_host = (
        plan_workers(Demand(), replace(UNLIMITED, platform=name)) for name in ("container", "host")
    )

    assert 8 * GIB == on_host.budget_bytes == in_container.budget_bytes
    assert () == on_host.warnings
    assert (
        "no memory limit is visible on this platform (container): 50 % of 16 GiB (MemTotal of the host) is used",
    ) == in_container.warnings


def test_size_above_the_limit() -> None:
    """A size larger than the limit is cut to it, and that is said."""
    budget = plan_workers(Demand(memory=4 * GIB, memory_origin="--memory"), BOX)

    assert 2 * GIB == budget.budget_bytes
    assert (f"4 GiB (--memory) is more than 2 GiB ({SOURCE}): the limit counts",) == budget.warnings


def test_whole_limit() -> None:
    """A share of 1.0 is the whole limit, not one byte."""
    budget = plan_workers(Demand(memory=1.0, memory_origin="--memory"), BOX)

    assert 2 * GIB == budget.budget_bytes


@pytest.mark.parametrize(("per_core", "cpus", "workers"), [(1, 1, 2), (2, 2, 4), (0.5, 8, 4), (3, 8, 6)])
def test_workers_per_core(per_core: float, cpus: float, workers: int) -> None:
    """WORKERS_PER_CORE gives what the retired images gave, at least 2, as far as memory goes."""
    budget = plan_workers(Demand(workers_per_core=per_core), replace(BOX, cpus=cpus))

    assert workers == budget.workers


def test_cap() -> None:
    """The most workers allowed caps the computed number and never an explicit one."""
    computed, explicit = plan_workers(Demand(max_workers=3), BOX), plan_workers(Demand(workers=5, max_workers=3), BOX)

    assert (3, 5) == (computed.workers, explicit.workers)
    assert computed.because.startswith("capped at 3 ")


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
    """What is used stays inside the limit: headroom, arbiter and all workers are its parts."""
    budget = plan_workers(demand, supply)

    limit, headroom, arbiter, worker = (region.bytes for region in budget.regions)
    assert (supply.memory_bytes, ARBITER_BYTES) == (limit, arbiter)
    assert worker == (demand.worker_estimate_bytes or DEFAULT_WORKER_BYTES)
    assert limit - headroom == budget.budget_bytes
    assert headroom >= 0
    assert headroom + arbiter + budget.workers * worker <= limit
    assert all(region.source for region in budget.regions)


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


def test_size_that_holds_none() -> None:
    """When a size was given and holds no worker, the cure is the size, not the limit."""
    with pytest.raises(NoWorkerFits) as caught:
        plan_workers(Demand(memory=100 * MIB, memory_origin="LAUNCHER_MEMORY"), BOX)

    assert "the pool needs 320 MiB, more than LAUNCHER_MEMORY gives: raise that" in caught.value.cure


def test_a_preloaded_application_is_there_twice_while_it_is_reloaded() -> None:
    """With preload the peak of a reload is in the sum, so one worker less fits, and the line says why."""
    plain, preloaded = plan_workers(Demand(), BOX), plan_workers(Demand(preload=True), BOX)

    assert preloaded.workers == plain.workers - 1
    assert "256 MiB reload" in preloaded.sum_line()
    assert [region.name for region in preloaded.regions] == ["limit", "headroom", "arbiter", "reload", "worker"]
