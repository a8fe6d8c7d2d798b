"""What does the kernel tell about a process of ours?

Where there is no /proc, nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
_EXITING = 0x4  # PF_EXITING of include/linux/sched.h, in the ninth field of /proc/PID/stat (proc(5))
_KILL = 1 << 8  # SIGKILL in the masks of /proc/PID/status


def ending(pid: int, proc: Path = PROC) -> bool:
    """Tell whether it is on its way out: killed, but still letting go of its memory, or waiting to be reaped."""
    try:
        fields = _fields(pid, proc)
        if fields[0] in {"Z", "X"} or int(fields[6]) & _EXITING:
            return True
        status = (proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
        masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
        return any(int(mask, 16) & _KILL for mask in masks)
    except (OSError, ValueError, IndexError):
        return False


def has_children(pid: int, proc: Path = PROC) -> bool:
    """Tell whether it has child processes, started by whichever of its threads."""
    return bool(children(pid, proc))


def children(pid: int, proc: Path = PROC) -> list[int]:
    """Return its child processes, started by whichever of its threads, as far as the kernel tells."""
    try:
        threads = os.listdir(proc / str(pid) / "task")  # noqa: PTH208 - names
    except OSError:
        return []
    return [int(child) for thread in threads for child in _children(proc / str(pid) / "task" / thread).split()]


def reaped(pid: int, proc: Path = PROC) -> int | None:
    """Return a number that grows whenever it collects a child that has ended: the page faults of those.

    A child that was killed at once is in no list any more; None: nobody knows.
    """
    try:
        fields = _fields(pid, proc)
        return int(fields[8]) + int(fields[10])
    except (OSError, ValueError, IndexError):
        return None


def cpu_s(pid: int, proc: Path = PROC) -> float | None:
    """Return for how many seconds it has had a CPU; None: nobody knows."""
    try:
        fields = _fields(pid, proc)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _fields(pid: int, proc: Path) -> list[str]:
    """Return /proc/PID/stat from the third field, the state, on: the name before may hold anything (proc(5))."""
    return (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _children(task: Path) -> str:
    try:
        return (task / "children").read_text(encoding="utf-8")
    except OSError:  # the thread has ended, or the kernel does not have the file (CONFIG_PROC_CHILDREN)
        return ""
