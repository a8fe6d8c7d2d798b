"""What do the readings of a pool's processes say about the next worker?

Arithmetic only. What a worker has for itself comes once more with every worker; the rest of what they hold together is
there once (evidence A3: N = 6 foretold to 2 % from what one process has for itself, and to 60 % from its RSS).
"""

from __future__ import annotations

from collections.abc import Sequence

from launcher.budget import Measured
from launcher.budget.regions import growth_bytes, regions_of
from launcher.budget.values import FILES_BYTES
from launcher.budget.words import sum_line
from launcher.growth import Growth
from launcher.limits.footprint import KERNEL_BYTES, Footprint


def as_measured(
    workers: Sequence[Footprint], others: Sequence[Footprint], shmem_bytes: int, *, provisional: bool
) -> Measured:
    """Return what a pool of these is measured at. The largest worker counts: the others may become like it.

    The proportional sizes of all processes add up to what they hold together, files that are mapped included. Those
    have a region of their own in the sum; what the kernel keeps for each is not among them.
    """
    own = [one.own_bytes for one in workers]
    exact = [one for one in workers if one.is_exact]
    # Of the inexact all that is resident is told: what they share would be counted with each of them.
    vague = max((max(0, one.pss_bytes - one.own_bytes) for one in workers if not one.is_exact), default=0)
    together = sum(one.pss_bytes + KERNEL_BYTES for one in (*exact, *others)) + vague
    at_least = sum(one.own_bytes for one in others)
    return Measured(
        worker_bytes=max(own),
        shared_bytes=max(at_least, together - sum(one.own_bytes for one in exact) - FILES_BYTES),
        peak_bytes=max(one.own_bytes + max(0, one.peak_rss_bytes - one.rss_bytes) for one in workers),
        files_bytes=FILES_BYTES,
        shmem_bytes=shmem_bytes,
        source="measured at this start",
        provisional=provisional,
    )


def allowed_bytes(measured: Measured) -> int:
    """Return how large a worker may become before it is larger than was foreseen."""
    return measured.worker_bytes + growth_bytes(measured)


def line(growth: Growth, measured: Measured) -> str:
    """Return the sum as one line that a person can check."""
    return sum_line(regions_of(*growth.sum_of(measured)))
