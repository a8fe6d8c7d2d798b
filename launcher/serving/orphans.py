"""Which dead children does nobody wait for?

As PID 1 a process inherits every orphan of its container, and has to collect it when it dies. A supervisor collects
whatever there is; in a process that runs the application itself, the application's own children look the same, and
are its to collect. They are told apart by patience: who wants a child's exit code asks within a minute.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

_PATIENCE_S = 60.0
_EVERY_S = 10.0


class Orphans:
    """The dead children of this process, if it is PID 1 (elsewhere there are only its own)."""

    def __init__(
        self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic, pid: int | None = None
    ) -> None:
        """Look at the children of `pid`, this process."""
        self._pid = pid or os.getpid()
        self._proc, self._clock = proc, clock
        self._seen: dict[int, float] = {}
        self._due = clock()

    def look(self) -> None:
        """Collect those that have been dead for long; cheap when it is called often."""
        now = self._clock()
        if self._pid != 1 or now < self._due:
            return
        self._due = now + _EVERY_S
        dead = set(self._dead())
        self._seen = {pid: self._seen.get(pid, now) for pid in dead}
        for pid, since in self._seen.items():
            if now - since >= _PATIENCE_S:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _dead(self) -> list[int]:
        with contextlib.suppress(OSError):
            children = (self._proc / f"{self._pid}/task/{self._pid}/children").read_text().split()
            return [int(pid) for pid in children if self._is_zombie(pid)]
        return []

    def _is_zombie(self, pid: str) -> bool:
        with contextlib.suppress(OSError):
            return (self._proc / pid / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return False
