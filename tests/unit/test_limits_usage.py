"""Is what a group holds for good read wherever a kernel tells it, and never the page cache?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.limits.usage import GroupUsage, UsageReader
from support.recorded_hosts import recorded

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024**2
TOP = "/sys/fs/cgroup"


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        # 12 MiB of the kernel without 8 MiB of slab that it can take back, and the network's buffers
        ("usage-v2", GroupUsage(100 * MIB, 60 * MIB, 4 * MIB + 65536, TOP)),
        # No sum yet: stacks, page tables, percpu, unreclaimable slab; the session has no memory controller
        (
            "usage-v2-before-5.18",
            GroupUsage(200 * MIB, 30 * MIB, 6 * MIB + MIB // 2 + 65536, f"{TOP}/system.slice/web.service"),
        ),
        ("usage-v1", GroupUsage(90 * MIB, 20 * MIB, 5 * MIB, f"{TOP}/memory")),
        ("usage-v1-nokmem", GroupUsage(90 * MIB, 20 * MIB, 0, f"{TOP}/memory/batch/web")),
        ("usage-hybrid", GroupUsage(90 * MIB, 20 * MIB, 5 * MIB, f"{TOP}/memory/web")),
        ("usage-v2-host-root", None),  # that counts the whole machine
        ("v2-unlimited", None),
    ],
)
def test_recorded_hosts(name: str, usage: GroupUsage | None, tmp_path: Path) -> None:
    """Anonymous, shared and kernel memory come from the group that counts this process; None where there is none."""
    assert usage == UsageReader(recorded(name, tmp_path))()


def test_no_control_groups(tmp_path: Path) -> None:
    """Where there is no /proc, as on macOS, there is no answer."""
    assert UsageReader(tmp_path)() is None


def test_needed_is_the_sum() -> None:
    """What is needed is all three together."""
    assert 6 == GroupUsage(1, 2, 3, "").needed_bytes


def test_slab_that_v1_does_not_tell_apart(tmp_path: Path) -> None:
    """Who has opened a million files has a gigabyte of it; 32 MiB and an eighth of the rest are taken for a need."""
    root = recorded("usage-v1", tmp_path)
    (root / "sys/fs/cgroup/memory/memory.kmem.usage_in_bytes").write_text(f"{1024 * MIB}\n", encoding="utf-8")
    usage = UsageReader(root)()

    assert usage is not None
    assert (1024 * MIB, 110 * MIB + 32 * MIB + 110 * MIB // 8) == (usage.kernel_bytes, usage.needed_bytes)


@pytest.mark.parametrize("content", ["", "anon", "anon many", "anon -1", "file 5\nshmem 6", "\x00\xff"])
@pytest.mark.parametrize(("name", "where"), [("usage-v2", ""), ("usage-v1", "/memory")])
def test_odd_files(name: str, where: str, content: str, tmp_path: Path) -> None:
    """What makes no sense is no answer."""
    root = recorded(name, tmp_path)
    (root / f"sys/fs/cgroup{where}/memory.stat").write_text(content, encoding="latin-1")

    assert UsageReader(root)() is None


@pytest.mark.parametrize(("name", "where"), [("usage-v2", ""), ("usage-v1", "/memory")])
def test_unreadable_file(name: str, where: str, tmp_path: Path) -> None:
    """What is there and cannot be read is no answer."""
    root = recorded(name, tmp_path)
    (root / f"sys/fs/cgroup{where}/memory.stat").unlink()
    (root / f"sys/fs/cgroup{where}/memory.stat").mkdir()

    assert UsageReader(root)() is None


def test_counters_that_disagree(tmp_path: Path) -> None:
    """The kernel's counters are not moved at once: more reclaimable slab than kernel memory is none, never a debt."""
    root = recorded("usage-v2", tmp_path)
    (root / "sys/fs/cgroup/memory.stat").write_text("anon 5\nkernel 7\nslab_reclaimable 9\n")

    assert GroupUsage(5, 0, 0, TOP) == UsageReader(root)()


def test_read_again_and_again(tmp_path: Path) -> None:
    """Each call reads anew; what cannot be read any more is None, what comes to lie elsewhere is found."""
    root = recorded("usage-v2", tmp_path)
    stat = root / "sys/fs/cgroup/memory.stat"
    reader = UsageReader(root)
    seen = [reader()]
    stat.write_text("anon 7\n")
    seen.append(reader())
    stat.unlink()
    seen.append(reader())
    (root / "proc/self/cgroup").write_text("0::/below\n")
    (root / "sys/fs/cgroup/below").mkdir()
    (root / "sys/fs/cgroup/below/memory.current").write_text("9\n")
    (root / "sys/fs/cgroup/below/memory.stat").write_text("anon 8\n")
    seen.append(reader())

    assert [100 * MIB, 7, None, 8] == [usage and usage.anon_bytes for usage in seen]
    assert [TOP, TOP, None, f"{TOP}/below"] == [usage and usage.source for usage in seen]


def test_this_machine() -> None:
    """Here there is an answer that makes sense, or the machine does not tell."""
    usage = UsageReader()()

    assert usage is None or 0 <= usage.needed_bytes
