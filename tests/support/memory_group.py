"""How does a test put what it starts into a control group with a memory limit?

A real group, made below the test's own and removed afterwards; where that is not allowed the test skips.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.limits.cgroups import read_groups
from launcher.limits.tree import Tree
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path("/")
# Before it becomes the program: what a process has when it is moved goes on counting where it came from.
_ENTER = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A group of cgroup v1 or v2. Sizes in bytes."""

    path: Path

    @property
    def inside(self) -> tuple[str, ...]:
        """The words before a command that is to run in it."""
        return ("sh", "-c", _ENTER, "sh", str(self.path))

    def limit(self, size: int) -> None:
        """Let it have no more than that; OSError when it has more already and cannot give it back."""
        v1 = self.path / "memory.limit_in_bytes"
        (v1 if v1.exists() else self.path / "memory.max").write_text(str(size))

    def stat(self, name: str) -> int:
        """Return a value of memory.stat, by its name in v1 without `total_` (rss, cache, shmem)."""
        table = Tree(_HERE).table(f"{self.path}/memory.stat")
        in_v2 = {"rss": "anon", "cache": "file"}.get(name, name)
        return int(table.get(f"total_{name}") or table[in_v2])

    @property
    def needed_bytes(self) -> int:
        """What it cannot give back: anonymous and shared memory, and the kernel's own where v1 tells it."""
        kernel = Tree(_HERE).text(f"{self.path}/memory.kmem.usage_in_bytes") or "0"
        return self.stat("rss") + self.stat("shmem") + int(kernel)

    @property
    def peak_bytes(self) -> int:
        """The most it ever used, page cache included."""
        v1 = self.path / "memory.max_usage_in_bytes"
        return int((v1 if v1.exists() else self.path / "memory.peak").read_text())

    @property
    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""
        v1 = self.path / "memory.oom_control"
        table = Tree(_HERE).table(f"{v1 if v1.exists() else self.path / 'memory.events'}")
        return int(table["oom_kill"])

    @property
    def pids(self) -> list[int]:
        """Who is in it."""
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]


@contextmanager
def memory_group(limit_bytes: int | None = None) -> Iterator[MemoryGroup]:
    """Make one for the block; skip the test where that is not allowed. Whoever is in it has to end before the block."""
    groups, tree = read_groups(Tree(_HERE)), Tree(_HERE)
    parents = [path for path in groups.v2() if "memory" in (tree.text(f"{path}/cgroup.subtree_control") or "").split()]
    parents += groups.v1("memory")[:1]
    made = Path(parents[0] if parents else "/nowhere") / f"launcher-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as problem:
        pytest.skip(f"no memory group can be made here: {problem.strerror}")
    try:
        group = MemoryGroup(made)
        if limit_bytes is not None:
            group.limit(limit_bytes)
        yield group
    finally:
        until(partial(_removed, made), f"the end of {made}", 20)


def _removed(group: Path) -> bool:
    """Try to remove an empty group; the kernel may still be letting go of its last process."""
    with suppress(OSError):
        group.rmdir()
    return not group.exists()
