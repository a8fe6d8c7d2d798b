"""Which signals does a process block, ignore and catch?

Standard signals only: glibc's posix_spawn, and so GNU make, ignores two of its own real-time ones in what it starts.
"""

from __future__ import annotations

from pathlib import Path


def signal_masks(pid: int) -> dict[str, set[int]]:
    """Return the standard signals of SigBlk, SigIgn and SigCgt in /proc/PID/status."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines())
    return {words[0].rstrip(":"): numbers(words[1]) for words in lines if words[0] in {"SigBlk:", "SigIgn:", "SigCgt:"}}


def is_asleep(pid: int) -> bool:
    """Tell whether it waits in nanosleep, beyond opening its locale's files as `sleep` does when it starts."""
    call = Path(f"/proc/{pid}/wchan").read_text(encoding="utf-8")
    return "nanosleep" in call


def numbers(mask: str) -> set[int]:
    """Return the standard signals in a mask as the kernel writes it."""
    return {number for number in range(1, 32) if int(mask, 16) >> (number - 1) & 1}
