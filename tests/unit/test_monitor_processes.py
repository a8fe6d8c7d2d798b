"""Is it known what each process costs, wherever the kernel tells it?"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from launcher.monitor.processes import KEPT_S, Cost, Processes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of /proc")

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
ROLLUP = "5-7 ---p 0 0 0 [rollup]\nRss: 900 kB\nShared_Clean: 100 kB\nShared_Dirty: 20 kB\nPrivate_Clean: 3 kB\n"


@dataclass
class Host:
    """A made-up /proc."""

    root: Path
    now: float = 100.0

    def process(self, pid: int, *, private_kib: int | None = 7, born: int = 55, name: str = "python") -> None:
        """Let there be a process with 2 s of user and 1 s of system time, 50 resident pages, 20 of them of files."""
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        rest = ["S", *["1"] * 10, str(2 * TICKS), str(TICKS), *["0"] * 6, str(born), "0"]
        (folder / "stat").write_text(f"{pid} ({name}) {' '.join(rest)}\n")
        (folder / "statm").write_text("1000 50 20 1 0 9 0\n")
        (folder / "smaps_rollup").unlink(missing_ok=True)
        if private_kib is not None:
            (folder / "smaps_rollup").write_text(f"{ROLLUP}Private_Dirty: {private_kib - 3} kB\n")

    def processes(self) -> Processes:
        """Return a reader of it."""
        return Processes(self.root, lambda: self.now)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return an empty host."""
    return Host(tmp_path)


def test_private_is_what_nobody_shares(host: Host) -> None:
    """Private and shared are summed from the kernel's walk, CPU from stat, whatever the process calls itself."""
    host.process(7, private_kib=7, name="a) b (c 1 2")

    assert {7: Cost(7 * 1024, 120 * 1024, 3.0)} == host.processes().costs([7])


def test_pages_are_walked_seldom(host: Host) -> None:
    """Within ten seconds what was found is told again; after it, and for another process of the pid, it is new."""
    processes = host.processes()
    found = []
    for now, private_kib, born in ((100.0, 10, 1), (100.0 + KEPT_S - 1, 20, 1), (100.0 + KEPT_S, 30, 1), (112, 40, 2)):
        host.now = now
        host.process(7, private_kib=private_kib, born=born)
        found.append(processes.costs([7])[7].private_bytes // 1024)

    assert [10, 10, 30, 40] == found


def test_without_the_walk_it_is_counted(host: Host) -> None:
    """Where the pages may not be walked, private is what is resident and of no file."""
    host.process(7, private_kib=None)

    assert {7: Cost(30 * PAGE, 20 * PAGE, 3.0)} == host.processes().costs([7])


def test_the_walk_does_not_take_long(host: Host) -> None:
    """When walking takes long, the rest is counted, and is walked first when it is asked for again."""
    for pid in (1, 2, 3):
        host.process(pid, private_kib=7)
    slow = iter(range(1000))
    processes = Processes(host.root, lambda: 100 + next(slow) * 0.02)
    walked = [
        [pid for pid, cost in sorted(processes.costs([1, 2, 3]).items()) if cost.private_bytes == 7 * 1024]
        for _ in range(3)
    ]

    assert [1, 2] == walked[0]
    assert [1, 2, 3] == walked[1] == walked[2]


def test_who_is_gone_costs_nothing(host: Host) -> None:
    """A process that has ended is left out; half a file is as good as none."""
    host.process(7)
    (host.root / "8").mkdir()
    (host.root / "9").mkdir()
    (host.root / "9" / "stat").write_text("9 (x")

    assert [7] == list(host.processes().costs([7, 8, 9, 10]))


def test_a_real_process_is_measured() -> None:
    """A child's cost is read by the kernel's real files: 30 MiB more are private to it."""
    program = "block = b'x' * (30 << 20); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        cost = Processes().costs([child.pid])[child.pid]
        child.communicate(b"\n")

    assert 30 << 20 < cost.private_bytes < 60 << 20
    assert cost.shared_bytes > 0
    assert cost.cpu_s < 10
