"""What does each process cost?

From /proc, where a few small files say it without psutil, whose import alone costs more memory than the rest of the
monitor. What is private is told by smaps_rollup only: a page that a fork shares counts there as shared. The kernel
walks all pages of a process for it, so it is read seldom, and never for long at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from launcher.limits.footprint import counted, walk

KEPT_S = 10.0  # how old private and shared may be
_AT_ONCE_S = 0.05  # spent on walking pages before the next answer is due


@dataclass(frozen=True, slots=True)
class Cost:
    """Memory of a process in bytes, private (freed by its end) and shared, and seconds of CPU it has used so far."""

    private_bytes: int
    shared_bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class _Walked:
    """What a walk found, when, and in which process: pids are used again, start times (in ticks) are not."""

    at: float
    born: int
    private_bytes: int
    shared_bytes: int


class Processes:
    """Reads what processes cost; remembers what took long to find out."""

    def __init__(self, root: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        """Read below `root`."""
        self._root, self._clock = root, clock
        self._walked: dict[int, _Walked] = {}
        self._ticks = os.sysconf("SC_CLK_TCK")

    def costs(self, pids: Iterable[int]) -> dict[int, Cost]:
        """Return the cost of each process that is there; those not asked for are forgotten. Never raises.

        Where the pages may not be walked (another user's process, an old kernel), or it would take too long right now,
        private is what is resident and not of a file (proc(5), statm): pages that a fork shares are in it, too.
        """
        if sys.platform != "linux":
            return {pid: cost for pid in pids if (cost := _by_psutil(pid)) is not None}
        asked = list(pids)
        self._walked = {pid: walked for pid, walked in self._walked.items() if pid in asked}
        asked.sort(key=lambda pid: self._walked[pid].at if pid in self._walked else 0.0)
        until = self._clock() + _AT_ONCE_S
        return {pid: cost for pid in asked if (cost := self._cost(pid, until)) is not None}

    def counted(self, pid: int) -> tuple[int, int] | None:
        """Return private and shared bytes as one line of /proc has them, without a walk; None where it has ended.

        Pages that a fork shares are in private, too. None also where there is no /proc.
        """
        try:
            return counted(self._root / str(pid))
        except (OSError, ValueError, IndexError):
            return None

    def _cost(self, pid: int, until: float) -> Cost | None:
        try:
            # Of stat(5), the fields after the name, which may hold blanks and brackets: the third is the first of them.
            fields = (self._root / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
            cpu_s, born = (int(fields[11]) + int(fields[12])) / self._ticks, int(fields[19])
            private, shared = self._memory(pid, born, until)
        except (OSError, ValueError, IndexError):  # it has ended
            return None
        return Cost(private, shared, cpu_s)

    def _memory(self, pid: int, born: int, until: float) -> tuple[int, int]:
        walked, now = self._walked.get(pid), self._clock()
        if walked is None or walked.born != born or now - walked.at >= KEPT_S:
            folder = self._root / str(pid)
            if now >= until or (pages := walk(folder)) is None:
                return counted(folder)
            walked = self._walked[pid] = _Walked(now, born, pages.private_bytes, pages.shared_bytes)
        return walked.private_bytes, walked.shared_bytes


def _by_psutil(pid: int) -> Cost | None:
    """Return it where there is no /proc (macOS)."""
    import psutil

    try:
        process = psutil.Process(pid)
        memory, times = process.memory_info(), process.cpu_times()
    except psutil.Error:
        return None
    return Cost(memory.rss, 0, times.user + times.system)
