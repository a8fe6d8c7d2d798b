"""Who writes a report when the monitor does not?

A process of its own: a disk that hangs holds up whoever writes to it, and that may not be who looks after the workers.
One at a time; what comes meanwhile waits for the next one.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from launcher.incidents.store import Store
from launcher.log import log

_MOST = 100  # reports that wait for a writer: as many as a folder keeps
_LOOK_S = 0.005
_MOST_DESCRIPTORS = 1 << 16  # a container's limit may be a thousand million, and a kernel before 5.9 closes one by one


class Aside:
    """Stands before a store with a folder."""

    def __init__(self, store: Store, fork: Callable[[], int] = os.fork) -> None:
        """Have reports written to `store`."""
        self._store, self._fork = store, fork
        self._waiting: deque[Mapping[str, Any]] = deque(maxlen=_MOST)
        self._writer: int | None = None

    def keep(self, report: Mapping[str, Any]) -> None:
        """Have it written, now or when the writer is free. Never raises, never waits."""
        self._waiting.append(report)
        self._begin()

    def ended(self, pid: int, status: int) -> None:
        """Take note of a child that was reaped."""
        if pid == self._writer:
            self._writer = None
            if status:
                log.warning("launcher.incident_not_kept", folder=str(self._store.folder))
            self._begin()

    def finish(self, patience_s: float) -> None:
        """Wait until all is written, no longer than that. For the end of a server, which reaps nobody any more."""
        until = time.monotonic() + patience_s
        self._begin()  # what could not be begun before: there may be processes again
        while self._writer is not None and time.monotonic() < until:
            try:
                pid, status = os.waitpid(self._writer, os.WNOHANG)
            except ChildProcessError:
                pid, status = self._writer, 0
            if pid:
                self.ended(pid, status)
            else:
                time.sleep(_LOOK_S)

    def _begin(self) -> None:
        if self._writer is not None or not self._waiting:
            return
        reports = list(self._waiting)
        try:
            pid = self._fork()
        except OSError:  # no more processes: the next death, or the end, tries again
            return
        self._waiting.clear()
        if not pid:
            self._write(reports)
        self._writer = pid

    def _write(self, reports: list[Mapping[str, Any]]) -> None:
        """In the child: write, and end whatever happens."""
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # they are the server's, whose handlers are ours for now
            signal.set_wakeup_fd(-1)
            os.closerange(0, _MOST_DESCRIPTORS)  # the listeners, above all
            code = int(any([self._store.keep(report) is None for report in reports]))  # noqa: C419 - all of them
        finally:
            os._exit(code)
