"""Who waits for a disk that hangs?

A process of its own: who looks after workers, or answers probes, may not. One at a time; what comes meanwhile waits for
the next one.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_S = 0.005
_MOST_DESCRIPTORS = 1 << 16  # a container's limit may be a thousand million, and a kernel before 5.9 closes one by one
# They are meant for whoever has forked, whose handlers are ours for now.
_DEAF_TO = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM")
    if hasattr(signal, name)
)


class Aside(Generic[T]):
    """Has things done in the order in which they come, all that wait in one process.

    pid: of the process at work. waiting: what it does not know of.
    """

    def __init__(self, work: Callable[[Sequence[T]], bool], fork: Callable[[], int] = os.fork) -> None:
        """Have `work` done, which tells whether all went well."""
        self.pid: int | None = None
        self.waiting: deque[T] = deque()
        self._work, self._fork = work, fork

    def add(self, one: T) -> None:
        """Have it done, now or when the process is free. Never raises, never waits."""
        self.waiting.append(one)
        self.begin()

    def begin(self) -> None:
        """Start a process, if there is something to do and none is at it."""
        if self.pid is not None or not self.waiting:
            return
        try:
            self.pid = self.start(list(self.waiting))
        except OSError:  # no more processes: the next one, or the end, tries again
            return
        self.waiting.clear()

    def start(self, batch: Sequence[T]) -> int:
        """Fork a process for these, and return its pid. Raises OSError."""
        return forked(lambda: self._work(batch), fork=self._fork)

    def ended(self, pid: int, status: int) -> bool:
        """Take note of a child that was reaped; tell whether it was ours and had failed."""
        if pid != self.pid:
            return False
        self.pid = None
        self.begin()
        return bool(status)

    def finish(self, patience_s: float) -> None:
        """Wait until all is done, no longer than that. For the end of who reaps nobody any more."""
        until = time.monotonic() + patience_s
        self.begin()  # what could not be begun before: there may be processes again
        while self.pid is not None and time.monotonic() < until:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0
            if pid:
                self.ended(pid, status)
            else:
                time.sleep(_LOOK_S)


def forked(work: Callable[[], bool], but: Iterable[int] = (), fork: Callable[[], int] = os.fork) -> int:
    """Have `work` done by a child with no descriptor of ours but these, and return its pid. Raises OSError.

    It ends with 0 when `work` returns True, else, whatever happens, with 1.
    """
    pid = fork()
    if pid:
        return pid
    code = 1
    try:
        gc.disable()  # an object that is collected would close a descriptor that is another's by now
        for number in _DEAF_TO:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        _close_all(but)  # the listeners, above all
        code = int(not work())
    finally:
        os._exit(code)


def _close_all(but: Iterable[int]) -> None:
    first = 0
    for kept in sorted({*but, _MOST_DESCRIPTORS}):
        os.closerange(first, kept)
        first = kept + 1
