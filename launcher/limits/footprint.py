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
# after 100 requests, preloaded or not (0.02 MB for a bare interpreter); and as what pools of six workers with
# 0 to 250 MB each kept beside the page tables, by process: 0.17 to 0.20 MB.
KERNEL_BYTES = 200 * 1024
# For each thread more than one: its stack in the kernel, its task. As above: 23 kB with 10, 40, 63 and 200 threads of a
# bare interpreter; the page tables for their stacks come on top.
THREAD_BYTES = 23 * 1000
_KIB = 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of one process, in bytes.

    own_bytes: what it has for itself, the kernel's share (`kernel_bytes`) included.
    pss_bytes: its own and its part of what is shared; where not exact, resident memory, which is never less.
    rss_bytes: what is resident; peak_rss_bytes: the most that ever was.
    is_exact: False where the kernel did not let its pages be looked at (the process of another user or one that has
        changed its user; before Linux 4.14; gVisor): own is then all that is resident and of no file, with what a fork
        shares, so rather too much than too little.
    parts: of what kind `pss_bytes` is; None where the kernel does not tell.
    """

    own_bytes: int
    pss_bytes: int
    rss_bytes: int
    peak_rss_bytes: int
    is_exact: bool
    kernel_bytes: int = KERNEL_BYTES
    parts: Parts | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """A process's part of the pages it has, by their kind, in bytes: of all who have them it adds up to the pages.

    anon_bytes: anonymous; the sum over a control group is what the group counts as that, to 0.1 MB (evidence A3).
    file_bytes: mapped from files. shmem_bytes: shared memory.
    """

    anon_bytes: int
    file_bytes: int
    shmem_bytes: int


@dataclass(frozen=True, slots=True)
class Pages:
    """What the kernel finds when it walks the pages of a process, in bytes (proc_pid_smaps(5)).

    parts: None before Linux 5.3, which made three fields of one (the kernel's Documentation/ABI/testing/
        procfs-smaps_rollup: Pss_Anon, Pss_File, Pss_Shmem).
    """

    private_bytes: int
    private_dirty_bytes: int
    shared_bytes: int
    pss_bytes: int
    parts: Parts | None = None


def read_footprint(pid: int, root: Path = Path("/")) -> Footprint | None:
    """Return the footprint; None when the process has ended, a zombie too, and where there is no /proc. Never raises.

    The kernel walks all pages for it (12 ms for 250 MB): for milestones, not for each second.
    """
    folder = root / "proc" / str(pid)
    try:
        text = (folder / "status").read_bytes()
        status = _sizes(text)
        rss = status[b"VmRSS"]
        peak, tables = status.get(b"VmHWM", rss), status.get(b"VmPTE", 0)  # gVisor has neither
        kernel = tables + KERNEL_BYTES + THREAD_BYTES * (_threads(text) - 1)
        pages = walk(folder)
        if pages is None:
            private, shared = counted(folder)
            vague = Footprint(private + kernel, rss, rss, peak, is_exact=False, kernel_bytes=kernel)
            return vague if private + shared else None
    except (OSError, ValueError, IndexError, KeyError):  # it has ended; a zombie has no Vm lines
        return None
    own = pages.private_dirty_bytes + kernel
    return Footprint(own, pages.pss_bytes, rss, peak, is_exact=True, kernel_bytes=kernel, parts=pages.parts)


def walk(folder: Path) -> Pages | None:
    """Return what is in the pages of the process of `folder` (/proc/pid); None where they are not told, or it ended."""
    try:
        sizes = _sizes((folder / "smaps_rollup").read_bytes())
    except OSError:  # EACCES: of another user; ENOENT: before Linux 4.14, gVisor; ESRCH: ended
        return None
    private, shared = (
        sum(size for name, size in sizes.items() if name.startswith(prefix)) for prefix in (b"Private_", b"Shared_")
    )
    kinds = [sizes[name] for name in (b"Pss_Anon", b"Pss_File", b"Pss_Shmem") if name in sizes]
    parts = Parts(*kinds) if len(kinds) == 3 else None  # noqa: PLR2004 - all or none
    return Pages(private, sizes.get(b"Private_Dirty", 0), shared, sizes.get(b"Pss", 0), parts)


def counted(folder: Path) -> tuple[int, int]:
    """Return private and shared bytes as the one line of statm has them: cheap, and everybody may ask.

    Pages that a fork shares are in private, too (proc_pid_statm(5)). Raises OSError where it has ended, ValueError or
    IndexError for what is no statm.
    """
    resident, shared = (folder / "statm").read_bytes().split()[1:3]
    return (int(resident) - int(shared)) * _PAGE_BYTES, int(shared) * _PAGE_BYTES


def _threads(status: bytes) -> int:
    """Return how many threads it has; 1 where that is not told."""
    words = status.partition(b"\nThreads:")[2].split(None, 1)  # no name has a line's end in it: it is escaped
    return int(words[0]) if words else 1


def _sizes(text: bytes) -> dict[bytes, int]:
    """Return the sizes of lines `name: value kB` in bytes; other lines are passed over."""
    rows = (line.split() for line in text.splitlines())
    return {row[0].rstrip(b":"): int(row[1]) * _KIB for row in rows if row[2:] == [b"kB"] and row[1].isdigit()}
