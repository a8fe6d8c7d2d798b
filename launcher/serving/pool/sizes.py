"""What do the readings of a pool's processes say about the next worker?

Arithmetic only. What a worker has for itself comes once more with every worker; the rest of what they hold together is
there once (N = 6 is foretold to 2 % from what the first has for itself, docs/concepts/memory.md, and to 60 % from RSS).
"""

from __future__ import annotations

from collections.abc import Sequence

from launcher.budget import Measured
from launcher.budget.regions import growth_bytes, regions_of
from launcher.budget.values import FILES_BYTES
from launcher.budget.words import sum_line
from launcher.growth import Growth
from launcher.limits.footprint import Footprint


def as_measured(
    workers: Sequence[Footprint],
    others: Sequence[Footprint],
    shmem_bytes: int,
    *,
    provisional: bool,
    monitor: Footprint | None = None,
) -> Measured:
    """Return what a pool of these is measured at. The largest worker counts: the others may become like it.

    shmem_bytes: what the control group counts as that. What the processes have mapped beyond it is in `shared_bytes`.
    """
    shared, files = _once(workers, others, shmem_bytes)
    return Measured(
        worker_bytes=max(one.own_bytes for one in workers),
        shared_bytes=max(shared, sum(one.own_bytes for one in others)),
        peak_bytes=max(one.own_bytes + max(0, one.peak_rss_bytes - one.rss_bytes) for one in workers),
        files_bytes=files,
        shmem_bytes=shmem_bytes,
        source="measured at this start",
        provisional=provisional,
        monitor_bytes=monitor.own_bytes if monitor is not None else 0,
    )


def _once(workers: Sequence[Footprint], others: Sequence[Footprint], shmem_bytes: int) -> tuple[int, int]:
    """Return what all of them have once: memory beside what each worker has for itself, and mapped files.

    The parts of all processes add up to what they hold together; what the kernel keeps for each is not among them.
    """
    exact = [one for one in workers if one.is_exact]
    # Of the inexact all that is resident is told: what they share would be counted with each of them.
    vague = max((max(0, one.pss_bytes - one.own_bytes) for one in workers if not one.is_exact), default=0)
    seen = (*exact, *others)
    kinds = [one.parts for one in seen if one.parts is not None]
    kernel, own = sum(one.kernel_bytes for one in seen), sum(one.own_bytes for one in exact)
    if len(kinds) == len(seen):
        mapped = max(0, sum(one.shmem_bytes for one in kinds) - shmem_bytes)
        anon, files = sum(one.anon_bytes for one in kinds), sum(one.file_bytes for one in kinds)
        return anon + mapped + kernel - own, max(vague, files)
    return sum(one.pss_bytes for one in seen) + vague + kernel - own - FILES_BYTES, FILES_BYTES


def allowed_bytes(measured: Measured) -> int:
    """Return how large a worker may become before it is larger than was foreseen."""
    return measured.worker_bytes + growth_bytes(measured)


def line(growth: Growth, measured: Measured) -> str:
    """Return the sum as one line that a person can check."""
    return sum_line(regions_of(*growth.sum_of(measured)))
