"""What do kernel and platform allow, on every kind of host we know of?"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.limits.reading import read_limits, supply
from launcher.limits.values import Limit, Limits
from support.recorded_hosts import recorded

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024**2
HOST_BYTES = 16384000 * 1024
HOST = Limit(HOST_BYTES, "MemTotal of the host")
ALL_CPUS = Limit(8, "CPUs of the host")


def read(name: str, root: Path, **environ: str) -> Limits:
    """Return the limits of the recorded host `name`, whose scheduler allows 8 CPUs."""
    return read_limits(recorded(name, root), environ, affinity=8)


@pytest.mark.parametrize(
    ("name", "memory", "limited"),
    [
        ("v2-docker", Limit(512 * MIB, "cgroup v2 memory.max of /sys/fs/cgroup"), True),
        (
            "v2-tighter-ancestor",
            Limit(1024 * MIB, "cgroup v2 memory.max of /sys/fs/cgroup/app.slice/app-web.slice"),
            True,
        ),
        ("v2-mount-root", Limit(768 * MIB, "cgroup v2 memory.max of /sys/fs/cgroup"), True),
        ("v2-outside-namespace", Limit(384 * MIB, "cgroup v2 memory.max of /sys/fs/cgroup"), True),
        ("v2-unlimited", HOST, False),
        ("v2-memory-high", Limit(900 * MIB, "cgroup v2 memory.high of /sys/fs/cgroup/web"), True),
        ("v1-docker", Limit(256 * MIB, "cgroup v1 hierarchical_memory_limit of /sys/fs/cgroup/memory"), True),
        (
            "v1-tighter-ancestor",
            Limit(200 * MIB, "cgroup v1 hierarchical_memory_limit of /sys/fs/cgroup/memory/batch/web"),
            True,
        ),
        ("v1-unlimited", HOST, False),
        ("v1-without-stat", Limit(300 * MIB, "cgroup v1 memory.limit_in_bytes of /sys/fs/cgroup/memory/batch"), True),
        ("v1-cpuset", HOST, False),
        ("hybrid", Limit(600 * MIB, "cgroup v1 hierarchical_memory_limit of /sys/fs/cgroup/memory/web"), True),
        ("kubernetes-without-limits", HOST, False),
        ("no-mountinfo", Limit(640 * MIB, "cgroup v2 memory.max of /sys/fs/cgroup"), True),
        ("odd", Limit(900 * MIB, "cgroup v2 memory.max of /sys/fs/cgroup"), True),
    ],
)
def test_memory_of_recorded_hosts(name: str, memory: Limit, limited: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a column of the table
    """The memory is the lowest limit a process can see, named by its file, or else the host's total."""
    limits = read(name, tmp_path)

    assert (memory, limited) == (limits.memory, limits.memory_is_limited)


@pytest.mark.parametrize(
    ("name", "cpus", "limited"),
    [
        ("v2-docker", Limit(1.5, "cpu quota 1.5 of /sys/fs/cgroup"), True),
        ("v2-tighter-ancestor", Limit(2, "cpu quota 2 of /sys/fs/cgroup/app.slice/app-web.slice"), True),
        ("v2-mount-root", ALL_CPUS, False),
        ("v2-unlimited", ALL_CPUS, False),
        ("v1-docker", Limit(0.5, "cpu quota 0.5 of /sys/fs/cgroup/cpu,cpuacct"), True),
        ("v1-unlimited", ALL_CPUS, False),
        ("v1-without-stat", Limit(3, "cpu quota 3 of /sys/fs/cgroup/cpu"), True),
        ("v1-cpuset", Limit(3, "cpuset of /sys/fs/cgroup/cpuset/web"), True),
        ("hybrid", Limit(2.5, "cpu quota 2.5 of /sys/fs/cgroup/cpu/web"), True),
        ("no-mountinfo", Limit(1, "cpu quota 1 of /sys/fs/cgroup"), True),
        ("odd", ALL_CPUS, False),
    ],
)
def test_cpus_of_recorded_hosts(name: str, cpus: Limit, limited: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a column of the table
    """The CPUs are the fewest of affinity, cpuset and any visible group's quota."""
    limits = read(name, tmp_path)

    assert (cpus, limited) == (limits.cpus, limits.cpus_are_limited)


def test_narrow_affinity(tmp_path: Path) -> None:
    """An affinity narrower than the host counts as a limit and gives its name to the number."""
    limits = read_limits(recorded("v2-unlimited", tmp_path), {}, affinity=3)

    assert (Limit(3, "CPU affinity"), True) == (limits.cpus, limits.cpus_are_limited)


def test_quota_above_the_host(tmp_path: Path) -> None:
    """A quota of more CPUs than there are is a limit, but the number is the host's."""
    limits = read_limits(recorded("v2-tighter-ancestor", tmp_path), {}, affinity=1)

    assert (Limit(1, "CPU affinity"), True) == (limits.cpus, limits.cpus_are_limited)


def test_heroku(tmp_path: Path) -> None:
    """On Heroku DYNO_RAM is the limit, and the terabytes of its cgroup are none."""
    limits = read("heroku", tmp_path, DYNO="web.1", DYNO_RAM="512")

    assert ("heroku", Limit(512 * MIB, "DYNO_RAM=512"), True) == (
        limits.platform,
        limits.memory,
        limits.memory_is_limited,
    )


def test_fly(tmp_path: Path) -> None:
    """On Fly.io the machine is the limit: what the kernel left of the size that was bought."""
    limits = read("fly", tmp_path, FLY_APP_NAME="shop", FLY_VM_MEMORY_MB="256")

    assert ("fly", 225000 * 1024, True) == (limits.platform, limits.memory.value, limits.memory_is_limited)
    assert "MemTotal of the host, a machine of FLY_VM_MEMORY_MB=256" == limits.memory.source


def test_odd_dyno_ram(tmp_path: Path) -> None:
    """A platform's variable that is no number is passed over and said."""
    limits = read("heroku", tmp_path, DYNO_RAM="plenty")

    assert not limits.memory_is_limited
    assert "DYNO_RAM says 'plenty', which is not a number: passed over" in limits.notes


@pytest.mark.parametrize(
    ("name", "environ", "platform"),
    [
        ("v2-docker", {}, "container"),
        ("v2-mount-root", {}, "container"),
        ("v2-unlimited", {}, "host"),
        ("v2-unlimited", {"container": "lxc"}, "container"),
        ("v2-unlimited", {"K_SERVICE": "shop"}, "cloud-run"),
        ("kubernetes-without-limits", {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "K_SERVICE": "shop"}, "kubernetes"),
    ],
)
def test_platform(name: str, environ: dict[str, str], platform: str, tmp_path: Path) -> None:
    """A platform is known by its own variable, a container by its mark."""
    limits = read(name, tmp_path, **environ)

    assert platform == limits.platform


def test_memory_high_is_said(tmp_path: Path) -> None:
    """A memory.high below memory.max is the limit, with both numbers and the swap said."""
    limits = read("v2-memory-high", tmp_path)

    assert (
        (
            "cgroup v2 memory.high of /sys/fs/cgroup/web is lower than 1 GiB "
            "(cgroup v2 memory.max of /sys/fs/cgroup/web): above it the kernel slows workers before it kills any"
        ),
        "/sys/fs/cgroup/web may swap: memory above the limit shows as slowness first",
    ) == limits.notes


def test_hidden_ancestors_are_said(tmp_path: Path) -> None:
    """Inside a cgroup namespace the number is called the visible limit."""
    limits = read("v2-docker", tmp_path)

    assert ("limits above /sys/fs/cgroup cannot be seen from here: the visible limit is used",) == limits.notes


def test_swap_of_v1(tmp_path: Path) -> None:
    """A v1 group that may use more memory with swap than without is said, when the host has swap."""
    root = recorded("v1-docker", tmp_path)
    (root / "proc/meminfo").write_text("MemTotal: 16384000 kB\nSwapTotal: 2097148 kB\n")
    limits = read_limits(root, {}, affinity=8)

    assert ("/sys/fs/cgroup/memory may swap: memory above the limit shows as slowness first",) == limits.notes


def test_odd_files_are_said(tmp_path: Path) -> None:
    """What makes no sense is passed over and said, and a limit for each process is said as such."""
    limits = read("odd", tmp_path)

    assert {
        "/sys/fs/cgroup/web/memory.max says 'lots', which is not a number: passed over",
        "/sys/fs/cgroup/web/cpu.max says 'half', which is not a number: passed over",
        "/sys/fs/cgroup/web/cpuset.cpus.effective says 'all', which is not a list of CPUs: passed over",
        "Max address space is 2 GiB for each process (rlimit)",
        "limits above /sys/fs/cgroup cannot be seen from here: the visible limit is used",
    } == set(limits.notes)


def test_unreadable_files_are_said(tmp_path: Path) -> None:
    """A file that refuses to be read, or is no text, never stops a start."""
    root = recorded("v2-docker", tmp_path)
    for name in ("proc/self/cgroup", "sys/fs/cgroup/memory.high"):
        (root / name).unlink()
        (root / name).mkdir()  # a folder refuses to be read even to root, to whom permissions do not apply
    (root / "sys/fs/cgroup/memory.max").write_bytes(b"\xff\xfe")
    limits = read_limits(root, {}, affinity=8)

    assert (HOST, False) == (limits.memory, limits.memory_is_limited)
    assert "/proc/self/cgroup could not be read (Is a directory): passed over" in limits.notes
    assert "/sys/fs/cgroup/memory.max could not be read (it is not text): passed over" in limits.notes


def test_no_kernel_files(tmp_path: Path) -> None:
    """Where there is neither /proc nor /sys, as on macOS, POSIX tells the memory and Python the CPUs."""
    limits = read_limits(tmp_path, {}, affinity=10)

    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert (
        Limits(
            Limit(physical, "physical memory of the host"),
            memory_is_limited=False,
            cpus=Limit(10, "CPUs of the host"),
            cpus_are_limited=False,
            platform="host",
            notes=(),
        )
        == limits
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cgroup=st.text(max_size=60), mounts=st.text(max_size=60), size=st.text(max_size=20), quota=st.text(max_size=20))
def test_never_raises(cgroup: str, mounts: str, size: str, quota: str, tmp_path: Path) -> None:
    """Whatever the files say, there is a positive number of bytes and CPUs."""
    root = recorded("v2-docker", tmp_path)
    files = {"proc/self/cgroup": f"0::{cgroup}", "proc/self/mountinfo": f"1 1 0:1 {mounts} - cgroup2 x rw"}
    files |= {"sys/fs/cgroup/memory.max": size, "sys/fs/cgroup/cpu.max": quota, "proc/meminfo": f"MemTotal: {size}"}
    for name, content in files.items():
        (root / name).write_text(content, encoding="utf-8", errors="replace")
    limits = read_limits(root, {"DYNO_RAM": size}, affinity=8)

    assert limits.memory.value > 0
    assert limits.cpus.value > 0


def test_supply(tmp_path: Path) -> None:
    """The arithmetic gets the same facts."""
    facts = supply(read("v2-docker", tmp_path))

    assert (512 * MIB, True, 1.5, True, "container") == (
        facts.memory_bytes,
        facts.memory_is_limited,
        facts.cpus,
        facts.cpus_are_limited,
        facts.platform,
    )


def test_this_machine() -> None:
    """The machine that runs the tests has memory and CPUs, and they are read in less than 3 ms."""
    limits = read_limits()
    took_s = []
    for _ in range(9):
        before = time.perf_counter()
        read_limits()
        took_s.append(time.perf_counter() - before)

    assert limits.memory.value >= 64 * MIB
    assert 0 < limits.cpus.value <= (os.cpu_count() or 1)
    assert min(took_s) < 0.003
