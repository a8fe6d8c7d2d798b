"""Is what a process has for itself told from what it shares, and a guess from a fact?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.limits.footprint import (
    KERNEL_BYTES,
    THREAD_BYTES,
    Footprint,
    Pages,
    Parts,
    counted,
    read_footprint,
    walk,
)

PAGE = os.sysconf("SC_PAGE_SIZE")
KIB = 1024
STATUS = "Name:\tgunicorn\nVmPeak:\t  9000 kB\nVmHWM:\t  800 kB\nVmRSS:\t  700 kB\nVmPTE:\t  40 kB\nThreads:\t1\n"
ROLLUP = """\
55e5a9000-7fff37904000 ---p 00000000 00:00 0                          [rollup]
Rss:                 700 kB
Pss:                 320 kB
Pss_Anon:            250 kB
Pss_File:             60 kB
Pss_Shmem:            10 kB
Shared_Clean:        400 kB
Shared_Dirty:         70 kB
Private_Clean:        30 kB
Private_Dirty:       200 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
"""
PARTS = Parts(250 * KIB, 60 * KIB, 10 * KIB)
KERNEL = KERNEL_BYTES + 40 * KIB  # with the page tables


def process(
    root: Path, *, status: str = STATUS, rollup: str | None = ROLLUP, statm: str = "1000 175 100 1 0 9 0"
) -> Path:
    """Let there be a process 7 on a made-up host; return its folder."""
    folder = root / "proc" / "7"
    folder.mkdir(parents=True)
    (folder / "status").write_text(status)
    (folder / "statm").write_text(statm)
    if rollup is not None:
        (folder / "smaps_rollup").write_text(rollup)
    return folder


def test_own_is_private_dirty_and_the_kernels_part(tmp_path: Path) -> None:
    """Own is what it alone has written to, its page tables, and what else a process costs the kernel."""
    process(tmp_path)

    assert Footprint(
        200 * KIB + KERNEL, 320 * KIB, 700 * KIB, 800 * KIB, is_exact=True, kernel_bytes=KERNEL, parts=PARTS
    ) == read_footprint(7, tmp_path)


@pytest.mark.parametrize(("told", "more"), [("Threads:\t41\n", 40), ("Threads:\t1\n", 0), ("", 0)])
def test_each_further_thread_costs_the_kernel(told: str, more: int, tmp_path: Path) -> None:
    """The first is in what any process costs; where threads are not told there is one."""
    process(tmp_path, status=STATUS.replace("Threads:\t1\n", told))
    found = read_footprint(7, tmp_path)

    assert found is not None
    assert KERNEL + more * THREAD_BYTES == found.kernel_bytes
    assert 200 * KIB + found.kernel_bytes == found.own_bytes


def test_a_kernel_that_does_not_tell_the_parts(tmp_path: Path) -> None:
    """Before Linux 5.3 the proportional size is one number, and the rest is as exact."""
    process(tmp_path, rollup="".join(line for line in ROLLUP.splitlines(keepends=True) if "Pss_" not in line))
    found = read_footprint(7, tmp_path)

    assert (
        Footprint(200 * KIB + KERNEL, 320 * KIB, 700 * KIB, 800 * KIB, is_exact=True, kernel_bytes=KERNEL, parts=None)
        == found
    )


def test_pages_that_must_not_be_looked_at(tmp_path: Path) -> None:
    """Without the walk, own is what is resident and of no file, and it is said that this is a guess."""
    process(tmp_path, rollup=None)

    assert Footprint(
        75 * PAGE + KERNEL, 700 * KIB, 700 * KIB, 800 * KIB, is_exact=False, kernel_bytes=KERNEL
    ) == read_footprint(7, tmp_path)


def test_a_kernel_that_tells_less(tmp_path: Path) -> None:
    """Without peak and page tables (gVisor) the peak is what is resident, and the rest is told."""
    process(tmp_path, status="Name:\tx\nVmRSS:\t700 kB\n", rollup=None)

    assert Footprint(75 * PAGE + KERNEL_BYTES, 700 * KIB, 700 * KIB, 700 * KIB, is_exact=False) == read_footprint(
        7, tmp_path
    )


@pytest.mark.parametrize(
    ("status", "rollup", "statm"),
    [
        ("Name:\tzombie\nState:\tZ (zombie)\n", ROLLUP, "0 0 0 0 0 0 0"),
        (STATUS, None, "0 0 0 0 0 0 0"),  # it ended between the two
        (STATUS, None, ""),
        (STATUS, None, "1000 many 3"),
        ("", "", ""),
    ],
)
def test_who_has_ended(status: str, rollup: str | None, statm: str, tmp_path: Path) -> None:
    """A zombie has no memory; half a file is as good as none."""
    process(tmp_path, status=status, rollup=rollup, statm=statm)

    assert read_footprint(7, tmp_path) is None


def test_no_such_process(tmp_path: Path) -> None:
    """Who is not there has no footprint, nor has anybody without /proc (macOS)."""
    assert read_footprint(7, tmp_path) is None


@pytest.mark.parametrize("name", ["a kB", "5 kB", "VmRSS: 1 kB", "(x) kB kB"])
def test_odd_names(name: str, tmp_path: Path) -> None:
    """A process may call itself anything."""
    process(tmp_path, status=STATUS.replace("gunicorn", name))
    found = read_footprint(7, tmp_path)

    assert found is not None
    assert (700 * KIB, 800 * KIB) == (found.rss_bytes, found.peak_rss_bytes)


def test_walk_and_count(tmp_path: Path) -> None:
    """The two ways to read it are there for others, too: all that is private, and the line that costs nothing."""
    folder = process(tmp_path)

    assert Pages(230 * KIB, 200 * KIB, 470 * KIB, 320 * KIB, PARTS) == walk(folder)
    assert (75 * PAGE, 100 * PAGE) == counted(folder)
    assert walk(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="of /proc")
def test_a_real_process() -> None:
    """Of this process everything is known, and the parts are in order."""
    found = read_footprint(os.getpid())

    assert found is not None
    assert found.is_exact
    assert KERNEL_BYTES < found.own_bytes < found.rss_bytes + KERNEL_BYTES * 10
    assert found.pss_bytes <= found.rss_bytes <= found.peak_rss_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="of /proc")
def test_a_real_zombie() -> None:
    """A child that has ended and was not waited for has no footprint."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert read_footprint(child.pid) is None
