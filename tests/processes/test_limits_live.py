"""Is it seen, in real memory groups, which limit binds, and that one is changed?

Groups are made below the test's own and removed afterwards; where that is not allowed those tests skip.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import launcher
from support.memory_group import MemoryGroup
from support.monitored import ready_steered
from support.pool import APP, linux_only
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = linux_only

MIB = 1 << 20
SAID_S = 40.0  # limits are read each ten seconds; this machine may be busy
HOLDING = """
import json, sys
from dataclasses import asdict
from launcher.limits.room import RoomReader
room = RoomReader()
held = bytearray(b"x") * int(sys.argv[1])
for line in sys.stdin:
    seen = room()
    print(json.dumps(seen and asdict(seen) | {"free_bytes": seen.free_bytes}), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds some memory, and says what is left."""

    popen: subprocess.Popen[str]

    def room(self) -> dict[str, Any]:
        """Return the room as it reads it."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        return dict(json.loads(self.popen.stdout.readline()))


@contextmanager
def holder(group: MemoryGroup, size: int) -> Iterator[Holder]:
    """Start one in `group`; it ends with the block."""
    environ = {**os.environ, "PYTHONPATH": str(Path(launcher.__file__).parents[1])}
    argv = [*group.inside, sys.executable, "-c", HOLDING, str(size)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=environ, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as popen:
        try:
            yield Holder(popen)
        finally:
            popen.kill()


@contextmanager
def below(group: MemoryGroup, *names: str) -> Iterator[list[MemoryGroup]]:
    """Make groups below `group`; skip where that is not allowed (in v2 a group has processes or such groups)."""
    made = [MemoryGroup(group.path / name) for name in names]
    try:
        for one in made:
            one.path.mkdir()
        if not (made[0].path / "memory.stat").exists():
            pytest.skip("groups below a new group have no memory controller here")
        yield made
    finally:
        for one in made:
            until(partial(_removed, one.path), f"the end of {one.path}", 20)


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return not path.exists()
    return True


def test_a_sibling_that_fills_the_parent(group: MemoryGroup) -> None:
    """The own group's limit binds until a sibling has taken so much of the parent's that less is left there."""
    group.limit(200 * MIB)
    with below(group, "ours", "theirs") as (ours, theirs):
        ours.limit(100 * MIB)
        with holder(ours, 20 * MIB) as process:
            alone = process.room()
            with holder(theirs, 120 * MIB) as sibling:
                sibling.room()
                beside = process.room()
            until(lambda: not theirs.pids, "the end of the sibling")
            again = process.room()

    mine = [alone, again]
    assert [100 * MIB] * 2 == [room["limit_bytes"] for room in mine]
    assert [str(ours.path)] * 2 == [room["usage"]["source"] for room in mine]
    assert all(60 * MIB < room["free_bytes"] < 80 * MIB for room in mine)
    assert (200 * MIB, str(group.path)) == (beside["limit_bytes"], beside["usage"]["source"])
    assert beside["limit_source"].endswith(str(group.path))
    assert 20 * MIB < beside["free_bytes"] < 60 * MIB


def test_limits_are_changed_live(group: MemoryGroup, launch: Launch, project: MakeProject) -> None:
    """A limit that somebody changes while the pool serves is said once and shown; so are CPUs."""
    group.limit(600 * MIB)
    folder = project({"main.py": APP})
    steered = ready_steered(launch, folder, "uvicorn", workers=2, before=group.inside)
    pool, before = steered.pool, steered.status()
    cpus = os.sched_getaffinity(pool.pid)
    one_cpu = {min(cpus)}
    group.limit(400 * MIB)
    os.sched_setaffinity(pool.pid, one_cpu)
    (said,) = pool.seen("limit_changed", timeout_s=SAID_S, what="memory")
    if len(cpus) > 1:
        (of_cpus,) = pool.seen("limit_changed", what="cpus")
        assert (len(cpus), 1, "CPU affinity") == (of_cpus["before"], of_cpus["now"], of_cpus["source"])
    after, metrics = steered.status(), steered.local("/metrics")[1]

    assert (600 * MIB, 480 * MIB) == (before["memory"]["limit_bytes"], before["memory"]["budget_bytes"])
    assert (600 * MIB, 400 * MIB, 320 * MIB) == tuple(
        said[key] for key in ("before_bytes", "limit_bytes", "budget_bytes")
    )
    assert str(group.path) in said["source"]
    assert (400 * MIB, 320 * MIB, said["source"]) == tuple(
        after["memory"][key] for key in ("limit_bytes", "budget_bytes", "source")
    )
    assert 400 * MIB - after["memory"]["needed_bytes"] == after["memory"]["free_bytes"]
    (of_metrics,) = [
        line.split()[1] for line in metrics.splitlines() if line.startswith("launcher_memory_limit_bytes ")
    ]
    assert 400 * MIB == float(of_metrics)
    assert before["wanted"] == after["wanted"] == 2
    assert [] == pool.named("monitor_fault")
    assert pool.end() == 0
    assert 1 == len(pool.named("limit_changed", what="memory"))
