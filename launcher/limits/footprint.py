"""How much memory does a process have for itself?

That is what its end gives back, and what one more of its kind takes: pages that it alone has and has written to, and
what the kernel keeps for it. Resident memory counts what a fork shares in each process again; "unique" memory (USS)
counts the pages of a library as one process's own as long as no second one maps them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# What a worker costs the kernel beside its page tables: stacks of its threads, descriptors, buffers. Measured in a
# memory group of Linux 6.18, as its kernel memory per further worker: 0.20 MB each for gunicorn with uvicorn's worker
# after 100 requests, preloaded or not (0.02 MB for a bare interpreter, 0.25 MB with ten threads).
KERNEL_BYTES = 200 * 1024
_KIB = 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of one process, in bytes.

    own_bytes: what it has for itself, the kernel's share included.
    pss_bytes: its own and its part of what is shared; where not exact, resident memory, which is never less.
    rss_bytes: what is resident; peak_rss_bytes: the most that ever was.
    is_exact: False where the kernel did not let its pages be looked at (the process of another user or one that has
        changed its user; before Linux 4.14; gVisor): own is then all that is resident and of no file, with what a fork
        shares, so rather too much than too little.
    """

    own_bytes: int
    pss_bytes: int
    rss_bytes: int
    peak_rss_bytes: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Pages:
    """What the kernel finds when it walks the pages of a process, in bytes (proc_pid_smaps(5))."""

    private_bytes: int
    private_dirty_bytes: int
    shared_bytes: int
    pss_bytes: int


def read_footprint(pid: int, root: Path = Path("/")) -> Footprint | None:
    """Return the footprint; None when the process has ended, a zombie too, and where there is no /proc. Never raises.

    The kernel walks all pages for it (12 ms for 250 MB): for milestones, not for each second.
    """
    folder = root / "proc" / str(pid)
    try:
        status = _table(folder / "status")
        rss = status[b"VmRSS"]
        peak, kernel = status.get(b"VmHWM", rss), status.get(b"VmPTE", 0) + KERNEL_BYTES  # gVisor has neither
        pages = walk(folder)
        if pages is None:
            private, shared = counted(folder)
            return Footprint(private + kernel, rss, rss, peak, is_exact=False) if private + shared else None
    except (OSError, ValueError, IndexError, KeyError):  # it has ended; a zombie has no Vm lines
        return None
    return Footprint(pages.private_dirty_bytes + kernel, pages.pss_bytes, rss, peak, is_exact=True)


def walk(folder: Path) -> Pages | None:
    """Return what is in the pages of the process of `folder` (/proc/pid); None where they are not told, or it ended."""
    try:
        sizes = _table(folder / "smaps_rollup")
    except OSError:  # EACCES: of another user; ENOENT: before Linux 4.14, gVisor; ESRCH: ended
        return None
    private, shared = (
        sum(size for name, size in sizes.items() if name.startswith(prefix)) for prefix in (b"Private_", b"Shared_")
    )
    return Pages(private, sizes.get(b"Private_Dirty", 0), shared, sizes.get(b"Pss", 0))


def counted(folder: Path) -> tuple[int, int]:
    """Return private and shared bytes as the one line of statm has them: cheap, and everybody may ask.

    Pages that a fork shares are in private, too (proc_pid_statm(5)). Raises OSError where it has ended, ValueError or
    IndexError for what is no statm.
    """
    resident, shared = (folder / "statm").read_bytes().split()[1:3]
    return (int(resident) - int(shared)) * _PAGE_BYTES, int(shared) * _PAGE_BYTES


def _table(file: Path) -> dict[bytes, int]:
    """Return the sizes of a `name: value kB` file in bytes; its other lines are passed over."""
    rows = (line.split() for line in file.read_bytes().splitlines())
    return {row[0].rstrip(b":"): int(row[1]) * _KIB for row in rows if row[2:] == [b"kB"] and row[1].isdigit()}
