"""How does a command run under its guard, without the rest of a start around it?

`python one_step.py JSON`: runs each of `argvs` under a guard, one JSON line each on stdout. Other keys: `timeout_s`,
`grace_s`, `stdin`, `lock` (a lock file to hold meanwhile), `lines` (how many are shown), `slow_s` (for each line),
`stop_first` (TERM to itself before).
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from launcher.boot.guarded import Run
from launcher.boot.watch import Watch
from launcher.cli.reporting import reporting
from launcher.locks import Held, LockContext, Owner
from launcher.locks.file import FileLock
from launcher.steps import Command


class Lines:
    """What was heard of a step; the first `shown` lines are kept, all are counted."""

    def __init__(self, shown: int, slow_s: float) -> None:
        self.shown, self.slow_s = shown, slow_s
        self.kept: list[tuple[str, str]] = []
        self.count = self.longest = 0
        self.digest = hashlib.sha256()

    def __call__(self, stream: str, line: str) -> None:
        """Hear one line."""
        if self.slow_s:
            time.sleep(self.slow_s)  # a log that is slow to take it
        if self.count < self.shown:
            self.kept.append((stream, line))
        self.count += 1
        self.longest = max(self.longest, len(line))
        self.digest.update(line.encode())


def main() -> None:
    """Run the commands, or end with the documented code."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    watch = Watch()
    with reporting(), watch.installed():
        held = _held(asked.get("lock"))
        if asked.get("stop_first"):
            signal.raise_signal(signal.SIGTERM)
        for argv in asked["argvs"]:
            _one(asked, argv, watch, held)
        if held is not None:
            held.release()


def _one(asked: dict[str, Any], argv: list[str], watch: Watch, held: Held | None) -> None:
    lines = Lines(asked.get("lines", 100), asked.get("slow_s", 0.0))
    run = Run(
        watch=watch,
        cwd=Path.cwd(),
        environ=os.environ,
        timeout_s=asked.get("timeout_s", 50.0),
        grace_s=asked.get("grace_s", 5.0),
        on_line=lines,
        held=held,
    )
    finished = run.execute(Command(argv=tuple(argv), stdin=asked.get("stdin", "").encode()))
    told = {
        "status": finished.status,
        "seconds": finished.seconds,
        "timed_out": finished.timed_out,
        "leftovers": finished.leftovers,
        "tail": finished.tail[-2000:],
        "lines": lines.kept,
        "count": lines.count,
        "longest": lines.longest,
        "digest": lines.digest.hexdigest(),
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _held(path: str | None) -> Held | None:
    if path is None:
        return None
    owner = Owner(host="here", pid=os.getpid(), release=None)
    held = FileLock(LockContext(where=path, cwd=Path.cwd(), owner=owner, namespace="")).try_acquire()
    assert held is not None, f"{path} is taken"
    return held


if __name__ == "__main__":
    main()
