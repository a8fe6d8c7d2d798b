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
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()  # the name before may hold anything
        if fields[0] in {"Z", "X"} or int(fields[6]) & _EXITING:
            return True
        status = (proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
        masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
        return any(int(mask, 16) & _KILL for mask in masks)
    except (OSError, ValueError, IndexError):
        return False


def has_children(pid: int, proc: Path = PROC) -> bool:
    """Tell whether it has child processes, started by whichever of its threads."""
    try:
        return any(_children(proc / str(pid) / "task" / thread) for thread in os.listdir(proc / str(pid) / "task"))  # noqa: PTH208 - names
    except OSError:
        return False


def _children(task: Path) -> str:
    try:
        return (task / "children").read_text(encoding="utf-8")
    except OSError:  # the thread has ended, or the kernel does not have the file (CONFIG_PROC_CHILDREN)
        return ""
