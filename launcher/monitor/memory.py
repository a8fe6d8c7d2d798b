"""Who sees to it that the pool keeps within its memory?

The parts that watch it, put together: workers by themselves, the group's limit, what `--memory` allows, stalls, and
with --preload what is still shared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from launcher.limits.room import Room, RoomReader
from launcher.limits.usage import UsageReader
from launcher.monitor.allowance import Allowance
from launcher.monitor.limits import LimitsWatch
from launcher.monitor.marks import scarcity
from launcher.monitor.pressure import Pressure
from launcher.monitor.sharing import Sharing
from launcher.monitor.watch import Watch
from launcher.monitor.weighing import ProcessSizes, in_flight_s, processes_of, ready_workers
from launcher.monitor.yielding import Yielding

if TYPE_CHECKING:
    from launcher.monitor.control import Control
    from launcher.monitor.processes import Processes
    from launcher.monitor.view import View


class MemoryWatch:
    """All of them. `look` is to be called about once a second."""

    def __init__(
        self,
        plan: Mapping[str, Any],
        view: View,
        processes: Processes,
        control: Control,
        limits: LimitsWatch,
        warn: Callable[..., None],
    ) -> None:
        """Watch the pool that `plan` and `view` are about, and ask it by `control`. limits: knows the budget of now."""
        self._usage = UsageReader()
        parent, self._limits, clock = int(plan["parent"]), limits, view.clock
        ready, sizes = ready_workers(view.board, parent), ProcessSizes(processes)
        self._watch = Watch(plan.get("worker_memory_limit_bytes"), ready, sizes, control.ask, warn, clock)
        self._watch.in_flight_s = in_flight_s(view.board)
        yielding = Yielding(control.ask, lambda: view.wanted, lambda: view.given_up, self._watch.largest, clock)
        self._pressure = Pressure(RoomReader(left=self._left), self._watch, yielding, warn, clock)
        self._pressure.budget_bytes = lambda: limits.budget_bytes or 0
        self._pressure.stalls = lambda: limits.stalls
        pids, shares = processes_of(view.board, parent, os.getpid()), bool(plan.get("preload"))
        allowance = Allowance(lambda: limits.allowed_bytes, pids, sizes, clock, shares=shares)
        self._pressure.allowance = lambda room: allowance.look(self._shmem_bytes(room))
        self._sharing = Sharing(ready, sizes, control.ask, warn, clock) if shares else None
        if self._sharing is not None:
            self._pressure.unshared = self._sharing.look

    def look(self) -> None:
        """Look at everything, and do what can be done now."""
        self._watch.look()
        self._pressure.look()

    def facts(self) -> dict[str, Any]:
        """Return what `status` shows of it."""
        return {**self._pressure.facts(), **(self._sharing.facts() if self._sharing is not None else {})}

    def _shmem_bytes(self, room: Room | None) -> int:
        """Return what lies in shared memory of our own group; where it has no limit that is everybody's."""
        if self._limits.allowed_bytes is None or room is None or not room.is_limited:
            return 0
        usage = self._usage()
        return 0 if usage is None else usage.shmem_bytes

    def _left(self, room: Room) -> float:
        return scarcity(room, self._limits.budget_bytes or 0)
