"""Is it alive, is it started, is it ready?

As Kubernetes asks: liveness is about the launcher and its loop and never about a dependency, since a restart cures no
database; startup is about the first time; readiness is about now.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from launcher.monitor.view import View

Probe = Literal["livez", "startupz", "readyz"]
PROBES: tuple[Probe, ...] = ("livez", "startupz", "readyz")
_GROUPS = {"startupz": "startup", "readyz": "readiness"}  # of checks of plugins; liveness has none


class Line(NamedTuple):
    """One check: its name, whether it passed, what a person wants to know about it."""

    name: str
    ok: bool
    detail: str = ""


class Answer(NamedTuple):
    """A probe's answer; `ok` when every line is."""

    ok: bool
    lines: Sequence[Line]


Others = Callable[[str], Sequence[Line]]  # group ("startup", "readiness") -> what the checks of plugins have found


def no_others(_: str) -> Sequence[Line]:
    """Return the checks of plugins where there are none."""
    return ()


class Health:
    """Answers the probes.

    others: the checks of plugins, by group; may be set later.
    """

    def __init__(self, view: View, ready_workers: str = "1", others: Others = no_others) -> None:
        """Ask for `ready_workers`: a number ("1"), or a share of the wanted ones ("50%"). Raises ValueError."""
        self.view, self.others = view, others
        self._number = 0 if ready_workers.endswith("%") else int(ready_workers)
        self._percent = float(ready_workers.removesuffix("%")) if ready_workers.endswith("%") else 0.0
        self._started = view.state != "booting"  # a monitor that was started again: it was ready once

    @property
    def needed(self) -> int:
        """How many workers have to be ready: at least one, at most as many as are wanted (`launcher scale`)."""
        wanted = self.view.wanted
        needed = self._number or math.ceil(wanted * self._percent / 100)
        return max(1, min(needed, wanted))

    @property
    def started(self) -> bool:
        """Whether enough workers were ready once. Looks at it, so it has to be asked now and then."""
        if not self._started and self.view.has_server:
            self._started = self.view.ready >= self.needed
        return self._started

    def ask(self, probe: Probe) -> Answer:
        """Return the answer to a probe."""
        own = {"livez": self._live, "startupz": self._startup, "readyz": self._ready}[probe]
        lines = (*own(), *(self.others(_GROUPS[probe]) if probe in _GROUPS else ()))
        return Answer(all(line.ok for line in lines), lines)

    def _live(self) -> Sequence[Line]:
        return (Line("launcher", *self.view.alive()),)

    def _startup(self) -> Sequence[Line]:
        if self.started:
            return (Line("started", ok=True),)
        return (Line("started", ok=False, detail=self._workers() if self.view.has_server else self._boot()),)

    def _ready(self) -> Sequence[Line]:
        enough = self.view.has_server and self.view.ready >= self.needed
        detail = self._workers() if self.view.has_server else self._boot()
        draining = self.view.state == "draining"
        stop = "the pool stops" if draining else ""
        return (Line("workers", enough, detail), Line("draining", ok=not draining, detail=stop))

    def _workers(self) -> str:
        view = self.view
        silent = f", {view.silent} silent" if view.silent else ""
        return f"{view.ready}/{view.wanted} ready, {self.needed} needed{silent}"

    def _boot(self) -> str:
        boot = self.view.boot
        what = [f"step {boot.step}"] if boot.step else []
        what += [f"waiting for {boot.waiting_for}"] if boot.waiting_for else []
        since = [f"for {self.view.clock() - boot.since:.0f} s"] if what and boot.since else []
        return ", ".join(what + since) or "booting"
