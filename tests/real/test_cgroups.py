"""What does a process read that is really in a limited group?

Groups of cgroup v1 are made below the test's own and removed afterwards; where that is not allowed the tests skip.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import launcher
from launcher.limits.cgroups import read_groups
from launcher.limits.tree import Tree
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024**2


@contextmanager
def nested_groups(controller: str) -> Iterator[tuple[Path, Path]]:
    """Make a group below this process's own v1 group and one below that; skip where that is not allowed."""
    own = next(iter(read_groups(Tree(Path("/"))).v1(controller)), None)
    outer = Path(own or "/nowhere") / f"launcher-test-{os.getpid()}"
    inner = outer / "inner"
    try:
        outer.mkdir()
    except OSError as problem:
        pytest.skip(f"no v1 {controller} group can be made here: {problem.strerror}")
    try:
        inner.mkdir()
        yield outer, inner
    finally:
        for group in (inner, outer):
            until(partial(removed, group), f"the end of {group}")


def removed(group: Path) -> bool:
    """Try to remove an empty group; the kernel may still be letting go of its last process."""
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def read_inside(group: Path) -> dict[str, object]:
    """Return what a process in `group` reads."""
    script = (
        "import json, os, sys\n"
        "open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "from launcher.limits.reading import read_limits\n"
        "limits = read_limits()\n"
        "print(json.dumps([limits.memory.value, limits.memory.source, limits.cpus.value, limits.cpus.source]))\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(launcher.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(group)], env=environ, capture_output=True, text=True, check=True, timeout=30
    )
    return dict(zip(("memory", "memory_source", "cpus", "cpus_source"), json.loads(done.stdout), strict=True))


def test_real_nested_memory_group() -> None:
    """A process in an unlimited v1 group below a limited one reads the parent's limit."""
    with nested_groups("memory") as (outer, inner):
        (outer / "memory.limit_in_bytes").write_text(str(200 * MIB))
        seen = read_inside(inner)

    assert 200 * MIB == seen["memory"]
    assert f"cgroup v1 hierarchical_memory_limit of {inner}" == seen["memory_source"]


def eat_inside(group: Path) -> int:
    """Let a process in `group` take more memory than it may have; return the signal that ended it."""
    script = "import os, sys; open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid())); x = b'x' * (300 << 20)"
    return -subprocess.run([sys.executable, "-c", script, str(group)], check=False, timeout=30).returncode


def test_real_oom_kill() -> None:
    """A process that the OOM killer took is counted in the group where it was."""
    count = "import os, sys; open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
    count += "from launcher.limits.oom import read_oom; print(read_oom().kills)"
    environ = {**os.environ, "PYTHONPATH": str(Path(launcher.__file__).parents[1])}
    with nested_groups("memory") as (outer, inner):
        (outer / "memory.limit_in_bytes").write_text(str(100 * MIB))

        def kills() -> str:
            argv = [sys.executable, "-c", count, str(inner)]
            return subprocess.run(argv, env=environ, capture_output=True, text=True, check=True, timeout=30).stdout

        before, signum, after = kills(), eat_inside(inner), kills()

    assert ("0\n", signal.SIGKILL, "1\n") == (before, signum, after)


def test_real_nested_cpu_quota() -> None:
    """A process in a v1 group without quota below one with half a CPU reads half a CPU."""
    with nested_groups("cpu") as (outer, inner):
        (outer / "cpu.cfs_period_us").write_text("100000")
        (outer / "cpu.cfs_quota_us").write_text("50000")
        seen = read_inside(inner)

    assert (0.5, f"cpu quota 0.5 of {outer}") == (seen["cpus"], seen["cpus_source"])
