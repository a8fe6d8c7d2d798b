"""What do the processes of a server cost?

CPU: the clock of each process (clock_getcpuclockid(3)), in nanoseconds and with all its threads: what utime + stime of
/proc/PID/stat are, before those are rounded to 10 ms. Memory: /proc/PID/smaps_rollup (proc_pid_smaps(5)). Linux only.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

BLOCK_BYTES = 512  # of st_blocks (inode(7))
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `private`: what nobody else maps, of all that is no worker; `board`: anonymous files of the launcher's.

    monitor: what nobody else maps of the launcher's monitor, which is not in `private`.
    own: all anonymous memory of the arbiter, also what its forked workers share with it; whole: all processes, workers
    too, each page counted once (PSS).
    """

    private: int
    monitor: int
    board: int
    own: int
    whole: int


@dataclass(frozen=True, slots=True)
class Tree:
    """The processes of a server that is up. The first is the arbiter: gunicorn's, or uvicorn's supervisor."""

    pids: tuple[int, ...]
    others: tuple[int, ...]  # of them, those that are neither workers nor the launcher's monitor
    monitor: tuple[int, ...] = ()

    @classmethod
    def of(cls, root: int, workers: int) -> Tree:
        """Look at what `root` has started. RuntimeError unless it has so many workers."""
        arbiter = psutil.Process(root)
        children = arbiter.children()  # not the children that a monitor has for a moment
        serving = [child.pid for child in children if is_worker(child, arbiter)]
        if len(serving) != workers:
            raise RuntimeError(f"{len(serving)} workers: {[child.cmdline() for child in children]}")
        pids = (root, *sorted(child.pid for child in children))
        monitor = tuple(child.pid for child in children if "launcher.monitor" in child.cmdline())
        return cls(pids, tuple(pid for pid in pids if pid not in {*serving, *monitor}), monitor)

    def cpu_s(self) -> float:
        """Return the CPU time of all of them so far, in seconds. OSError when one is gone."""
        return sum(time.clock_gettime(cpu_clock(pid)) for pid in self.pids)

    def memory(self) -> Memory:
        """Return what they occupy now."""
        rolled = {pid: smaps(pid) for pid in self.pids}
        return Memory(
            private=sum(private(rolled[pid]) for pid in self.others),
            monitor=sum(private(rolled[pid]) for pid in self.monitor),
            board=anonymous_files(self.pids[0]),
            own=rolled[self.pids[0]]["Anonymous"],
            whole=sum(each["Pss"] for each in rolled.values()),
        )


def busy_s() -> float:
    """Return the CPU time that this machine has spent on anybody so far, in seconds (proc_stat(5); 10 ms apart)."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(ticks) for ticks in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def clients_s() -> float:
    """Return the CPU time of the programs that this process has run to their end, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def is_worker(child: psutil.Process, arbiter: psutil.Process) -> bool:
    """Tell a worker, forked by gunicorn or spawned by uvicorn, from what multiprocessing runs beside it."""
    words = child.cmdline()
    return words == arbiter.cmdline() or any("spawn_main" in word for word in words)


def cpu_clock(pid: int) -> int:
    """Return the id of a process's CPU clock, as glibc's clock_getcpuclockid computes it; Python has none to call."""
    cpuclock_sched = 2
    return ~pid << 3 | cpuclock_sched


def smaps(pid: int) -> dict[str, int]:
    """Return the sums over a process's mappings, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}


def private(rolled: dict[str, int]) -> int:
    """Return what nobody else maps, in bytes."""
    return rolled["Private_Clean"] + rolled["Private_Dirty"]


def anonymous_files(pid: int) -> int:
    """Return the bytes allocated in the launcher's anonymous files that a process holds open (scoreboard, evidence).

    A page of them that it alone has touched is in its private memory, too: counted twice, some kilobytes too much.
    """
    held = [path for path in Path(f"/proc/{pid}/fd").iterdir() if str(path.readlink()).startswith("/memfd:launcher")]
    files = {stat.st_ino: stat.st_blocks for stat in (path.stat() for path in held)}
    return sum(files.values()) * BLOCK_BYTES
