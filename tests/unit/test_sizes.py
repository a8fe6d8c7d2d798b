"""Do the readings of a pool's processes become the terms of the sum?"""

from __future__ import annotations

from launcher.budget import MIB
from launcher.limits.footprint import Footprint, Parts
from launcher.serving.pool.sizes import as_measured


def part(own: int, anon: int, file: int, shmem: int = 0) -> Footprint:
    """Return what is exactly known of a process, in MiB; the kernel keeps one for it, which is its own."""
    parts = Parts(anon * MIB, file * MIB, shmem * MIB)
    pss = (anon + file + shmem) * MIB
    return Footprint(own * MIB, pss, 120 * MIB, 120 * MIB, is_exact=True, kernel_bytes=MIB, parts=parts)


def test_files_and_shared_memory_are_told_from_what_is_anonymous() -> None:
    """What the parts add up to is there: anonymous memory and the kernel's beside what workers have, the rest apart."""
    worker, arbiter, monitor = part(11, 40, 25, 1), part(6, 50, 5, 1), part(14, 13, 2)
    measured = as_measured([worker, worker], [arbiter], 3 * MIB, provisional=True, monitor=monitor)

    assert (40 + 40 + 50 + 3 - 2 * 11) * MIB == measured.shared_bytes
    assert (11 * MIB, 55 * MIB) == (measured.worker_bytes, measured.files_bytes)
    assert (3 * MIB, 14 * MIB) == (measured.shmem_bytes, measured.monitor_bytes)


def test_shared_memory_that_no_group_counts() -> None:
    """Without a limit what the processes have mapped of it is with what is shared; with one it is not counted twice."""
    worker, arbiter = part(11, 40, 25, 30), part(6, 50, 5, 30)
    free, limited = (as_measured([worker], [arbiter], size * MIB, provisional=True) for size in (0, 80))

    assert 60 * MIB == free.shared_bytes - limited.shared_bytes
    assert (0, 80 * MIB) == (free.shmem_bytes, limited.shmem_bytes)


def test_the_sum_is_what_is_there() -> None:
    """For as many workers as were measured, it gives again what all of them have together; and more in the group's."""
    workers, arbiter = [part(11, 40, 25)] * 3, part(6, 50, 5)
    measured = as_measured(workers, [arbiter], 7 * MIB, provisional=True)
    kernel = 4 * MIB

    assert (3 * 40 + 50) * MIB + kernel == measured.shared_bytes + 3 * measured.worker_bytes
    assert (7 * MIB, 0) == (measured.shmem_bytes, measured.monitor_bytes)


def test_workers_that_must_not_be_looked_at() -> None:
    """All that is resident of them and not of a file is their own, the rest is a file; the arbiter's is exact."""
    vague = Footprint(60 * MIB, 90 * MIB, 90 * MIB, 90 * MIB, is_exact=False)
    measured = as_measured([vague, vague], [part(6, 50, 5)], 0, provisional=True)

    assert (60 * MIB, 51 * MIB, 30 * MIB) == (measured.worker_bytes, measured.shared_bytes, measured.files_bytes)


def test_what_is_there_once_is_not_counted_with_each_worker() -> None:
    """Two workers that share 100 MiB with a template have 10 each for themselves."""
    worker = Footprint(10 * MIB, 40 * MIB, 120 * MIB, 120 * MIB, is_exact=True)
    template = Footprint(5 * MIB, 50 * MIB, 120 * MIB, 120 * MIB, is_exact=True)
    measured = as_measured([worker, worker], [template], 0, provisional=True)

    assert measured.worker_bytes == 10 * MIB
    assert 90 * MIB < measured.shared_bytes + 16 * MIB < 112 * MIB
