"""How is one trial conducted?

A program of its own (`python -P -m launcher.boot.trials.conduct`) under the step guard: what it starts ends with it,
and it ends when `launcher plan` does, killed or not. It starts the server, asks it until it has been measured after
traffic, stops it, and answers in bytes on $LAUNCHER_STEP_REPORT_FD.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any, NoReturn

from launcher.boot.trials.asking import Asking
from launcher.boot.trials.order import Order, Outcome
from launcher.limits.oom import read_oom
from launcher.limits.usage import UsageReader

_TRAFFIC_S = 30.0  # then what was measured before it, or meanwhile, has to do
_STOP_S = 3.0
_LAST_WORDS_S = 1.0
_LINES = 20
# The first of them says most: what follows is what followed.
_FAILURES = frozenset(
    {
        "launcher.application_not_loaded",
        "launcher.pool_gave_up",
        "launcher.start_failed",
        "launcher.worker_boot_failed",
        "launcher.worker_died",
        "launcher.worker_not_started",
    }
)


class Trial:
    """A server that is tried, and what it says."""

    def __init__(self, order: Order) -> None:
        """Start it."""
        self._asking = Asking(order.socket, order.path)
        self._lines: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._measured: dict[str, Any] = {}
        self._shmem_bytes = 0
        self._wanted = 0
        self._why = ""
        self._ended: threading.Timer | None = None
        self._kills = read_oom().kills or 0
        os.lseek(0, 0, os.SEEK_SET)  # the order is for it, too
        argv = (sys.executable, "-P", "-m", "launcher.boot.trials.begin")
        self.server = subprocess.Popen(argv, stdin=0, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def conduct(self) -> Outcome:
        """Return what came of it, when it has ended."""
        listener = threading.Thread(target=self._listen, daemon=True)
        listener.start()
        code = self.server.wait()
        listener.join(_LAST_WORDS_S)  # not to the end: what it has started and left behind may hold the pipe
        return Outcome(
            code=code,
            failed=bool(self._why),
            why=self._why or next((line for line in reversed(self._lines) if line.strip()), ""),
            measured=self._measured,
            shmem_bytes=self._shmem_bytes,
            answers=dict(self._asking.answers),
            kills=(read_oom().kills or 0) - self._kills,
        )

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self._asking.end()
        if self._ended is not None:
            self._ended.cancel()
        self.server.terminate()
        try:
            self.server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.server.kill()  # what it leaves behind is the guard's
            self.server.wait()

    def _listen(self) -> None:
        for line in self.server.stderr or ():
            self._hear(line.decode(errors="replace"))

    def _hear(self, line: str) -> None:
        """Take note of one line of its log."""
        try:
            said = json.loads(line)
            event = said["event"]
        except (ValueError, LookupError, TypeError):  # the application's own words
            self._lines.append(line.strip())
            return
        if event == "launcher.worker_measured":
            self._take(said)
        elif event == "launcher.pool_sized":
            self._wanted = int(said["wanted"])
            if self._wanted <= int(said["before"]):
                self._ask()
        elif event in _FAILURES:
            self._why = self._why or _reason(said)
            if self._wanted:  # the first serves, another one will never come
                self._ask()

    def _take(self, measured: dict[str, Any]) -> None:
        self._measured = measured
        if (usage := UsageReader()()) is not None:
            self._shmem_bytes = usage.shmem_bytes
        if not measured.get("provisional", True):
            self._finish()
        elif 0 < self._wanted <= int(measured["workers"]):
            self._ask()

    def _ask(self) -> None:
        """All that there are to be have been measured before traffic: let there be some, for a while."""
        if self._ended is None:
            self._asking.begin()
            self._ended = threading.Timer(_TRAFFIC_S, self._finish)
            self._ended.daemon = True
            self._ended.start()

    def _finish(self) -> None:
        self._asking.end()
        with contextlib.suppress(OSError):
            self.server.terminate()


def _reason(said: dict[str, Any]) -> str:
    """Return what an event says went wrong; of a traceback its last line."""
    told = said.get("exception") or said.get("message") or ", ".join(said.get("evidence") or ()) or said.get("because")
    lines = [line.strip() for line in str(told or "").splitlines() if line.strip()] or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _end(signum: int, _frame: object) -> NoReturn:
    signal.signal(signum, signal.SIG_IGN)
    sys.exit(128 + signum)


def main() -> None:
    """Conduct the trial of the order on standard input."""
    signal.signal(signal.SIGTERM, _end)
    order = Order.from_bytes(sys.stdin.buffer.read())
    report = int(os.environ.pop("LAUNCHER_STEP_REPORT_FD"))
    trial: Trial | None = None
    try:
        trial = Trial(order)
        outcome = trial.conduct()
        os.write(report, outcome.as_bytes())
    finally:
        if trial is not None:
            trial.stop()
        shutil.rmtree(order.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
