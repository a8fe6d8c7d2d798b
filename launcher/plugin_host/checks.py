"""Which check is due, and what has each found?

Each run is a thread of its own, since a driver may block beyond any time limit. One that is over its time has failed;
it is not run again before it has returned, and who has too many of these needs a new process.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import NamedTuple

from launcher.masking import masked
from launcher.records import HealthCheck

LONGEST_DETAIL = 300  # characters


class Found(NamedTuple):
    """What one run has found; `detail` is for people and without passwords."""

    name: str
    ok: bool
    detail: str


@dataclass(slots=True, eq=False)
class _Run:
    check: HealthCheck
    began: float
    late: bool = False


@dataclass(slots=True)
class Checks:
    """Runs checks.

    wake: called from another thread when there is something to `collect`.
    """

    wake: Callable[[], object]
    clock: Callable[[], float] = time.monotonic
    all: dict[str, HealthCheck] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _runs: dict[str, _Run] = field(default_factory=dict)
    _done: SimpleQueue[tuple[_Run, str | None]] = field(default_factory=SimpleQueue)

    def add(self, check: HealthCheck) -> None:
        """Have it run, at once for the first time. Raises ValueError for a name that is taken."""
        if check.name in self.all:
            raise ValueError(f"there is a check {check.name!r} already")
        self.all[check.name] = check
        self._due[check.name] = self.clock()

    def hurry(self, name: str) -> None:
        """Run it as soon as it can be."""
        if name in self.all:
            self._due[name] = self.clock()

    def start_due(self) -> None:
        """Start what is due and does not run."""
        now = self.clock()
        for name, due in self._due.items():
            if due <= now and name not in self._runs:
                self._start(self.all[name], now)

    def collect(self) -> Iterable[Found]:
        """Yield what was found since the last time."""
        while (done := self._next_done()) is not None:
            run, because = done
            del self._runs[run.check.name]
            if not run.late:  # otherwise it has been told as failed
                yield Found(run.check.name, because is None, because or "")
        now = self.clock()
        for name, run in self._runs.items():
            if not run.late and now - run.began > run.check.timeout:
                run.late = True
                yield Found(name, ok=False, detail=f"no answer within {run.check.timeout:g} s")

    def pause_s(self) -> float:
        """Return for how long there is nothing to do, unless `wake` is called."""
        ends = [run.began + run.check.timeout for run in self._runs.values() if not run.late]
        dues = [due for name, due in self._due.items() if name not in self._runs]
        return max(0.0, min([*ends, *dues], default=float("inf")) - self.clock() + 0.001)

    def hung(self) -> Mapping[str, float]:
        """Return the checks that are over their time, and by how much."""
        now = self.clock()
        return {name: now - run.began - run.check.timeout for name, run in self._runs.items() if run.late}

    def _start(self, check: HealthCheck, now: float) -> None:
        run = self._runs[check.name] = _Run(check, now)
        self._due[check.name] = now + check.interval
        try:
            threading.Thread(target=self._run, args=(run,), name=f"check {check.name}", daemon=True).start()
        except RuntimeError as error:  # no thread to be had: the system's limit
            self._done.put((run, str(error)))

    def _run(self, run: _Run) -> None:
        self._done.put((run, _reason(run.check.probe)))
        self.wake()

    def _next_done(self) -> tuple[_Run, str | None] | None:
        try:
            return self._done.get_nowait()
        except Empty:
            return None


def _reason(probe: Callable[[], object]) -> str | None:
    """Return why it failed; None: it passed."""
    try:
        result = probe()
    except BaseException as error:  # noqa: BLE001 - the thread is the probe's own; asyncio.CancelledError is no Exception
        return _in_words(error)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        return "it returned something to be awaited: a check is an ordinary function"
    return None


def _in_words(error: BaseException) -> str:
    """Return a line for people, without passwords and without what would steer a terminal."""
    name = type(error).__name__
    try:
        text = " ".join(masked(str(error)).split())
    except Exception:  # noqa: BLE001 - a plugin's class, whose `__str__` may raise anything
        return name
    return "".join(sign if sign.isprintable() else "?" for sign in text[:LONGEST_DETAIL]) or name
