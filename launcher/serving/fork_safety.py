"""What has an import left behind that a fork breaks?

Of a process with threads only the one that forks goes on in the child: what the others were to do is never done, and a
lock that one of them held is never given back. A connection that two processes write to mixes up what both say. An
event loop's selector is one object of the kernel's that all children would change. What a process has set up on a GPU
does not survive a fork at all. (Python's documentation of `os.fork`; fork(2); PyTorch's notes on multiprocessing.)

Threads of C libraries alone (OpenBLAS, which stops and restarts its own around a fork) are their libraries' business.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CURE = "make it in the application's lifespan, which each worker runs, or leave --preload out"
_FDS = Path("/proc/self/fd")
_DEVICES = ("/dev/nvidia", "/dev/kfd")  # CUDA, ROCm


class UnsafeForkError(RuntimeError):
    """The application cannot be imported once for all workers."""


@dataclass(frozen=True, slots=True)
class Before:
    """What was there before the import: idents of threads, descriptors."""

    threads: frozenset[int | None]
    descriptors: frozenset[int]

    @classmethod
    def now(cls) -> Before:
        """Look."""
        return cls(frozenset(thread.ident for thread in threading.enumerate()), frozenset(_descriptors()))

    def check(self) -> None:
        """Raise UnsafeForkError when there is something now that a fork breaks."""
        if left := list(dict.fromkeys(self._left())):
            raise UnsafeForkError(f"--preload: the import has left what a fork breaks: {', '.join(left)}; {CURE}")

    def _left(self) -> Iterator[str]:
        for thread in threading.enumerate():
            if thread.ident not in self.threads:
                yield f"the thread {thread.name!r}"
        for fd in _descriptors():
            if fd not in self.descriptors:
                yield from _described(fd)


def _descriptors() -> Iterator[int]:
    """Yield those that are open; none where nothing tells (no Linux, no /proc)."""
    with contextlib.suppress(OSError):
        for path in sorted(_FDS.iterdir(), key=lambda path: int(path.name)):
            if path.is_symlink():  # that of the listing itself is closed by now
                yield int(path.name)


def _described(fd: int) -> Iterator[str]:
    """Yield in words what a descriptor is, when a fork breaks it."""
    try:
        mode, target = os.fstat(fd).st_mode, str((_FDS / str(fd)).readlink())
    except OSError:  # it was closed meanwhile
        return
    if target.startswith(_DEVICES):
        yield f"{target}, open"
    elif "[eventpoll]" in target:
        yield "an event loop (or another user of epoll)"
    elif stat.S_ISSOCK(mode):
        yield from _peer(fd)


def _peer(fd: int) -> Iterator[str]:
    """Yield where a socket is connected to. One that is not, nobody has said anything on."""
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            peer: Any = copy.getpeername()
    except OSError:
        return
    if isinstance(peer, tuple):
        yield f"a connection to {peer[0]}:{peer[1]}"
    elif peer:
        yield f"a connection to {os.fsdecode(peer)}"
