"""Which workers are there, and how large are they?"""

from __future__ import annotations

import math
from collections.abc import Callable

from launcher.limits.footprint import Footprint, read_footprint
from launcher.monitor.processes import Processes
from launcher.monitor.watched import Ready
from launcher.procfs import children
from launcher.scoreboard import SLOTS, Board, Stage


class ProcessSizes:
    """Reads how much memory processes have for themselves."""

    def __init__(self, processes: Processes) -> None:
        """Read what is cheap by `processes`."""
        self._processes = processes

    def cheap(self, pid: int) -> int | None:
        """Return what is resident and of no file, as statm has it."""
        counted = self._processes.counted(pid)
        return None if counted is None else counted[0]

    def own(self, pid: int) -> int | None:
        """Return what a walk of its pages finds."""
        footprint = self.footprint(pid)
        return None if footprint is None else footprint.own_bytes

    def footprint(self, pid: int) -> Footprint | None:
        """Return all that a walk of its pages finds."""
        return read_footprint(pid)


def ready_workers(board: Board, arbiter_pid: int) -> Callable[[], list[Ready]]:
    """Return what finds the workers that serve or boot and are not asked to leave; the server itself is none."""

    def find() -> list[Ready]:
        slots = map(board.slot, range(min(board.used, SLOTS)))
        found = [
            Ready(
                slot.number, slot.pid, slot.stage_since, slot.stage is not Stage.READY, slot.generation, slot.requests
            )
            for slot in slots
            if Stage.FORKED <= slot.stage <= Stage.READY and not slot.asked
        ]
        return [one for one in found if one.number and one.pid > 0 and one.pid != arbiter_pid]

    return find


def in_flight_s(board: Board) -> Callable[[int], list[float]]:
    """Return what tells for how many seconds each request of a worker has been under way; WebSockets always were."""

    def ages(pid: int) -> list[float]:
        slots = [slot for slot in map(board.slot, range(min(board.used, SLOTS))) if slot.pid == pid]
        return [math.inf if one.method == "WS" else one.age_s for slot in slots for one in slot.read().in_flight]

    return ages


def processes_of(board: Board, arbiter_pid: int, monitor_pid: int) -> Callable[[], set[int]]:
    """Return what finds the processes that the pool has for good: the arbiter, the monitor, children of both.

    Without workers that boot or leave, which for a while are one more than there are to be.
    """

    def find() -> set[int]:
        slots = list(map(board.slot, range(min(board.used, SLOTS))))
        stay = {slot.pid for slot in slots if slot.stage is Stage.READY and not slot.asked}
        pass_by = {slot.pid for slot in slots if slot.stage is not Stage.EMPTY} - stay
        return {arbiter_pid, monitor_pid, *stay, *children(arbiter_pid), *children(monitor_pid)} - pass_by

    return find
