"""Who writes a report when the monitor does not?

A process of its own (`launcher.aside`): a disk that hangs holds up whoever writes to it, and that may not be who looks
after the workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher import aside
from launcher.incidents.store import Store
from launcher.log import log

_MOST = 100  # reports that wait for a writer: as many as a folder keeps


class Aside:
    """Stands before a store with a folder."""

    def __init__(self, store: Store, fork: Callable[[], int] = os.fork) -> None:
        """Have reports written to `store`."""
        self._store = store
        self._writer: aside.Aside[Mapping[str, Any]] = aside.Aside(self._write, fork)

    def keep(self, report: Mapping[str, Any]) -> None:
        """Have it written, now or when the writer is free; beyond what may wait, it counts the oldest. Never waits."""
        waiting = self._writer.waiting
        while len(waiting) >= _MOST:
            merged = 1 + int(waiting.popleft().get("merged", 0))
            report = {**report, "merged": int(report.get("merged", 0)) + merged}
        self._writer.add(report)

    def ended(self, pid: int, status: int) -> None:
        """Take note of a child that was reaped."""
        if self._writer.ended(pid, status):
            log.warning("launcher.incident_not_kept", folder=str(self._store.folder))

    def finish(self, patience_s: float) -> None:
        """Wait until all is written, no longer than that. For the end of a server, which reaps nobody any more."""
        self._writer.finish(patience_s)

    def _write(self, reports: Sequence[Mapping[str, Any]]) -> bool:
        return all([self._store.keep(report) is not None for report in reports])  # noqa: C419 - all of them
