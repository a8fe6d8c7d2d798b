"""Is the number of OOM kills read where the kernel has it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.limits.oom import OomCounts, OomReader, read_oom
from support.recorded_hosts import recorded

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("v2-docker", 3),
        ("v2-tighter-ancestor", 2),  # its own, not the slice's
        ("v2-unlimited", 1),  # the session has no memory controller: the slice's
        ("v2-mount-root", None),
        ("v1-docker", 5),
        ("v1-tighter-ancestor", 1),  # v1 does not add up
        ("v1-without-stat", None),  # a kernel that does not count
        ("hybrid", 6),
        ("heroku", None),
    ],
)
def test_recorded_hosts(name: str, kills: int | None, tmp_path: Path) -> None:
    """The number is that of the group that memory is counted in; where there is none it is None."""
    assert kills == read_oom(recorded(name, tmp_path)).kills


@pytest.mark.parametrize("content", ["", "oom_kill", "oom_kill many", "oom_kill -1", "\x00"])
def test_odd_files(tmp_path: Path, content: str) -> None:
    """What makes no sense is None."""
    root = recorded("v2-docker", tmp_path)
    (root / "sys/fs/cgroup/memory.events").write_text(content)

    assert read_oom(root).kills is None


def test_unreadable_file(tmp_path: Path) -> None:
    """What cannot be read is None."""
    root = recorded("v2-docker", tmp_path)
    (root / "sys/fs/cgroup/memory.events").unlink()
    (root / "sys/fs/cgroup/memory.events").mkdir()

    assert read_oom(root).kills is None


def test_read_again_and_again(tmp_path: Path) -> None:
    """The file that had them is read; what comes to lie elsewhere is found, and what is gone is None."""
    root = recorded("v2-docker", tmp_path)
    events = root / "sys/fs/cgroup/memory.events"
    reader = OomReader(root)
    counts = [reader()]
    events.write_text("oom 5\noom_kill 4\n")
    counts.append(reader())
    events.unlink()
    counts.append(reader())
    events.write_text("oom 6\noom_kill 5\n")
    counts.append(reader())
    source = "/sys/fs/cgroup/memory.events"

    assert [OomCounts(3 + n, 4 + n, source=source) for n in (0, 1)] == counts[:2]
    assert [OomCounts(), OomCounts(5, 6, source=source)] == counts[2:]


@pytest.mark.parametrize("where", ["app.slice/app-web.slice/web.service", "app.slice"])
def test_a_group_that_is_killed_as_one(where: str, tmp_path: Path) -> None:
    """It is recognised, whether the own group says so or one above."""
    root = recorded("v2-tighter-ancestor", tmp_path)
    before = read_oom(root).group
    (root / "sys/fs/cgroup" / where / "memory.oom.group").write_text("1\n")

    assert (False, True) == (before, read_oom(root).group)


def test_this_machine() -> None:
    """Here there is a number, or the machine does not tell."""
    kills = read_oom().kills

    assert kills is None or kills >= 0
