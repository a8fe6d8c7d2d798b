"""How many workers fit, and does the sum say so in words a person can check?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.budget import (
    GROWTH_BYTES,
    HEADROOM_BYTES,
    Demand,
    Measured,
    Supply,
    fitting,
    plan_workers,
)
from launcher.errors import NoWorkerFits
from support.budgets import BOX, GIB, MIB, SOURCE, named, planned

UNLIMITED = replace(BOX, memory_bytes=16 * GIB, memory_source="MemTotal of the host", memory_is_limited=False)


# A pool of an application that holds 200 MB, in MiB: what workers have, what is shared, the most, files, /dev/shm.
SEEN = Measured(200 * MIB, 40 * MIB, 220 * MIB, 20 * MIB, 0, "measured at this start", provisional=False)


def test_memory_is_the_narrow_part() -> None:
    """With more CPUs than room, memory decides, and the sum reads as it is done by hand."""
    budget = plan_workers(Demand(), BOX)

    assert (6, True, ()) == (budget.workers, budget.fits, budget.warnings)
    assert "6 fit in memory, fewer than 8 CPUs (CPU affinity) could hold" == budget.because
    assert (
        "2 GiB (cgroup v2 memory.max of /sys/fs/cgroup) "
        "− 409.6 MiB headroom (default, all but 80 %) − 64 MiB arbiter − 12 MiB monitor "  # noqa: RUF001 - the sign of the sum
        "= 1.5 GiB ÷ 256 MiB per worker (default, a guess until measured) = 6"
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
    (warning,) = budget.warnings
    assert warning == (
        f"4 workers (--workers) × 1 GiB (--worker-memory-estimate) do not fit 3 GiB ({SOURCE}), "  # noqa: RUF001 - as above
        "with 2.3 GiB left for workers: 2 fit; "
        "--preload could make 4 possible, if the workers share all but 83 MiB of it"
    )


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
    assert "a limit of 1375 MiB at this share" in caught.value.cure
    assert "--allow-overcommit" in caught.value.cure
    assert ["limit", "headroom", "arbiter", "monitor", "worker"] == [
        line.partition(":")[0] for line in caught.value.detail.splitlines()
    ]


@pytest.mark.parametrize(("limit_mib", "fits"), [(256, True), (175, True), (174, False), (128, False)])
def test_a_guess_alone_refuses_only_what_could_be_no_application(limit_mib: int, *, fits: bool) -> None:
    """256 MiB, less than the guess for one worker, are the smallest machines of some platforms: one is started."""
    budget = planned(Demand(), replace(BOX, memory_bytes=limit_mib * MIB))

    assert fits == (budget is not None)
    if budget is not None:
        assert (1, 0, False) == (budget.workers, budget.fitting, budget.fits)
        assert "not one fits in memory, one smaller than was guessed may" == budget.because
        assert "1 worker × 256 MiB (default, a guess until measured) does not fit" in budget.warnings[-1]  # noqa: RUF001 - the sign of the sum


@pytest.mark.parametrize("demand", [Demand(worker_estimate_bytes=256 * MIB), Demand(measured=SEEN)])
def test_what_is_known_refuses(demand: Demand) -> None:
    """A size that was said or measured is no guess."""
    assert planned(demand, replace(BOX, memory_bytes=256 * MIB)) is None


def test_the_cure_cures() -> None:
    """A limit as large as the refusal asks for holds one worker."""
    budget = plan_workers(Demand(worker_estimate_bytes=GIB), replace(BOX, memory_bytes=1375 * MIB))

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


def test_size_that_holds_none() -> None:
    """When a size was given and holds no worker, the cure is the size, not the limit."""
    with pytest.raises(NoWorkerFits) as caught:
        plan_workers(Demand(memory=100 * MIB, memory_origin="LAUNCHER_MEMORY"), BOX)

    assert "the pool needs 332 MiB, more than LAUNCHER_MEMORY gives: raise that" in caught.value.cure


def test_a_preloaded_application_is_there_twice_while_it_is_reloaded() -> None:
    """With preload the peak of a reload is in the sum, so one worker less fits, and the line says why."""
    plain, preloaded = plan_workers(Demand(), BOX), plan_workers(Demand(preload=True), BOX)

    assert preloaded.workers == plain.workers - 1
    assert "256 MiB reload" in preloaded.sum_line()
    assert [region.name for region in preloaded.regions] == [
        "limit",
        "headroom",
        "arbiter",
        "monitor",
        "reload",
        "worker",
    ]


def test_what_was_measured() -> None:
    """After a measurement each part stands in the sum by itself, growth included."""
    budget = plan_workers(Demand(measured=SEEN), BOX)

    assert (6, "measured at this start") == (budget.workers, budget.regions[-2].source)
    assert ["limit", "headroom", "shared", "files", "monitor", "worker", "growth"] == list(named(budget))
    assert (
        "= 1.5 GiB ÷ (200 MiB + 50 MiB growth) per worker (measured at this start) = 6"
        == budget.sum_line()[budget.sum_line().index("= 1.5") :]
    )


@pytest.mark.parametrize(
    ("worker", "peak", "growth", "because"),
    [
        (200 * MIB, 220 * MIB, 50 * MIB, "25 % of a worker"),
        (20 * MIB, 22 * MIB, GROWTH_BYTES, "the least"),
        (40 * MIB, 100 * MIB, 60 * MIB, "up to the most a worker ever had, 100 MiB"),
    ],
)
def test_growth(worker: int, peak: int, growth: int, because: str) -> None:
    """A worker may grow by a quarter, by 16 MiB, or up to what one has had already: whichever is most."""
    region = plan_workers(Demand(measured=replace(SEEN, worker_bytes=worker, peak_bytes=peak)), BOX).regions[-1]

    assert ("growth", growth, because) == (region.name, region.bytes, region.source)


def test_before_traffic() -> None:
    """What was measured before any request says so."""
    budget = plan_workers(Demand(measured=replace(SEEN, provisional=True)), BOX)

    assert "(measured at this start, before traffic)" in budget.sum_line()


def test_an_estimate_wins_over_a_measurement() -> None:
    """What was said of a worker counts, growth and all, and beside it stands what was measured."""
    budget = plan_workers(Demand(measured=SEEN, worker_estimate_bytes=100 * MIB), BOX)

    assert ("worker", 100 * MIB) == (budget.regions[-1].name, budget.regions[-1].bytes)
    assert "--worker-memory-estimate; 200 MiB were measured at this start" == budget.regions[-1].source


def test_preload_as_measured_has_what_is_shared_twice() -> None:
    """A reload of a preloaded application has its second copy in the sum, of the size that was measured."""
    shared = replace(SEEN, worker_bytes=13 * MIB, shared_bytes=243 * MIB, peak_bytes=13 * MIB)
    budget = plan_workers(Demand(measured=shared, preload=True), replace(BOX, cpus=64))

    assert 243 * MIB == named(budget)["shared"] == named(budget)["reload"]
    assert fitting(shared, budget.budget_bytes, preload=True) == budget.workers


@pytest.mark.parametrize(
    ("memory", "limited", "headroom"),
    [(None, True, HEADROOM_BYTES), (1.0, True, 0), (None, False, 50 * MIB)],
    ids=["a limit", "as asked", "a machine"],
)
def test_the_least_headroom(memory: float | None, headroom: int, *, limited: bool) -> None:
    """Of a small limit 32 MiB are left alone, unless somebody has said how much to use."""
    supply = replace(BOX, memory_bytes=100 * MIB, memory_is_limited=limited)
    budget = plan_workers(Demand(memory=memory, allow_overcommit=True), supply)

    assert headroom == named(budget)["headroom"]


def test_no_hint_where_sharing_does_not_help() -> None:
    """Where two copies of the application leave no room for so many workers, nothing is said of --preload."""
    (warning,) = plan_workers(
        Demand(workers=64, worker_estimate_bytes=GIB), replace(BOX, memory_bytes=3 * GIB)
    ).warnings

    assert "--preload" not in warning


def test_preload_is_not_hinted_at_twice() -> None:
    """With --preload the hint says what has to be shared, and after a measurement nothing: that is in the sum."""
    demand = Demand(workers=4, worker_estimate_bytes=GIB, preload=True)
    guessed, measured = (
        plan_workers(one, replace(BOX, memory_bytes=3 * GIB)).warnings[0]
        for one in (demand, replace(demand, measured=SEEN))
    )

    assert guessed.endswith(": 1 fits; 4 could, if the workers share all but 83 MiB of it")
    assert measured.endswith(": 2 fit")


def test_the_table() -> None:
    """The table has a row for each region, what is left for workers, and how many fit."""
    rows = plan_workers(Demand(worker_estimate_bytes=GIB), replace(BOX, memory_bytes=3 * GIB)).sum_rows()

    assert ["limit", "headroom", "arbiter", "monitor", "for workers", "worker", "fit"] == [row[0] for row in rows]
    assert ("for workers", "= 2.3 GiB", "what is left") == rows[4]
    assert ("fit", "2", "2.3 GiB ÷ 1 GiB, rounded down") == rows[-1]
