"""Have the limits changed since the start, and what is left of them?

They can be changed while we run (`docker update`, a pod's resize, `systemctl set-property`). That is said, and shown by
`status` and the metrics; the pool keeps its size: how many workers there are to be, somebody has to say.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.limits.reading import read_limits, supply
from launcher.limits.room import Room, RoomReader
from launcher.limits.stalls import Stalls, StallsReader
from launcher.limits.values import Limits
from launcher.monitor.view import View

EVERY_S = 10.0
STALLS_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Readers:
    """Who reads what there is."""

    limits: Callable[[], Limits]
    room: Callable[[], Room | None]
    stalls: Callable[[], Stalls | None]


class LimitsWatch:
    """Says it. `look` has to be called about once a second.

    stalls: what was read of them last. changed: called when there is something that the next monitor has to know.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        view: View,
        warn: Callable[..., None],
        readers: Readers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Compare with what is read at the first look, or was left in `view.limits` by the monitor before.

        plan, view: have what the pool was sized for; `view.facts` gets what that is now. warn: to the log.
        """
        self._plan, self._view, self._warn, self._readers, self._clock = plan, view, warn, readers, clock
        self.changed: Callable[[], None] = lambda: None
        self._limits: Limits | None = None
        self._doubted: tuple[float, float] | None = None
        self.stalls: Stalls | None = None
        self._due = self._stalls_due = float("-inf")

    def look(self) -> None:
        """Read what is due."""
        now = self._clock()
        if now >= self._stalls_due:
            self._stalls_due, self.stalls = now + STALLS_EVERY_S, self._readers.stalls()
        if now >= self._due:
            self._due = now + EVERY_S
            self._compare(self._readers.limits())
        self._tell_present()

    @property
    def budget_bytes(self) -> int | None:
        """What the pool may use for good of the present limit; None: nobody knows."""
        budget = self._memory_of_plan().get("budget_bytes")
        return None if budget is None else int(budget)

    @property
    def allowed_bytes(self) -> int | None:
        """The same, where somebody has said it (`--memory`) and means it; None elsewhere: the limit is what counts."""
        known = self._memory_of_plan()
        return None if known.get("asked") is None or known.get("may_overcommit") else self.budget_bytes

    def memory(self) -> dict[str, Any]:
        """Return what `status` shows of the memory, read at this moment; keys whose value nothing tells are absent.

        needed_bytes and free_bytes: of the group that has least left; room_limit_bytes and room_source: its limit.
        """
        room, stalls = self._readers.room(), self.stalls
        left = {} if room is None else _of_room(room)
        told = stalls and {name: getattr(stalls, name) for name in ("some_avg10", "full_avg10", "source")}
        return {**left, "stalls": told}

    def cpus(self) -> dict[str, Any]:
        """Return what `status` shows of the CPUs: how many may be used, and who says so."""
        return {} if self._limits is None else _cpus(self._limits)

    def _compare(self, limits: Limits) -> None:
        known, seen = self._view.limits, (limits.memory.value, limits.cpus.value)
        if not known:
            self._limits = limits
            self._keep(limits, has_changed=False)
            self.changed()
            return
        if seen == (known["memory_bytes"], known["cpus"]):
            self._limits, self._doubted = limits, None
        elif seen != self._doubted:  # what is being changed has several files, and may not be read in one moment
            self._doubted, self._due = seen, float("-inf")
        else:
            self._limits, self._doubted = limits, None
            self._say(limits, known["memory_bytes"], known["cpus"])

    def _say(self, limits: Limits, memory_before: float, cpus_before: float) -> None:
        memory, cpus = limits.memory, limits.cpus
        self._keep(limits, has_changed=self._view.limits["memory_has_changed"] or memory.value != memory_before)
        if memory.value != memory_before:
            self._tell_present()
            self._warn(
                "launcher.limit_changed",
                what="memory",
                before_bytes=int(memory_before),
                limit_bytes=int(memory.value),
                budget_bytes=self._memory_of_plan().get("budget_bytes"),
                source=memory.source,
            )
        if cpus.value != cpus_before:
            now = {"before": cpus_before, "now": cpus.value, "source": cpus.source}
            self._warn("launcher.limit_changed", what="cpus", **now)
        self.changed()

    def _keep(self, limits: Limits, *, has_changed: bool) -> None:
        memory, cpus = int(limits.memory.value), limits.cpus.value
        self._view.limits = {"memory_bytes": memory, "cpus": cpus, "memory_has_changed": has_changed}

    def _tell_present(self) -> None:
        """Put the present limit in the place of the one that the pool was sized for, once that is known."""
        limits, known = self._limits, self._memory_of_plan()
        if limits is None or not known or not self._view.limits["memory_has_changed"]:
            return
        memory = {"limit_bytes": int(limits.memory.value), "source": limits.memory.source}
        self._view.facts["memory"] = {**known, **memory, "budget_bytes": _budget(known, limits)}

    def _memory_of_plan(self) -> Mapping[str, Any]:
        return self._view.facts.get("memory") or self._plan.get("memory") or {}


def readers(parent: int) -> Readers:
    """Return those of this machine; `parent` is the process whose CPU affinity is the pool's."""
    return Readers(lambda: read_limits(affinity=_affinity(parent)), RoomReader(), StallsReader())


def _affinity(pid: int) -> int | None:
    """Return how many CPUs the scheduler allows a process; None: the same as us, as far as is known."""
    if sys.platform != "linux":
        return None
    try:
        return len(os.sched_getaffinity(pid)) or None
    except OSError:  # it has ended
        return None


def _budget(known: Mapping[str, Any], limits: Limits) -> int | None:
    """Return what the sum would make of the present limit: the same share of it, or the size that was asked for."""
    from launcher.budget import Demand  # where a limit has changed
    from launcher.budget.regions import usable_bytes

    if known.get("budget_bytes") is None:
        return None
    if "asked" not in known:
        return min(int(known["budget_bytes"]), int(limits.memory.value))
    return usable_bytes(Demand(memory=known["asked"]), supply(limits))


def _of_room(room: Room) -> dict[str, Any]:
    return {
        "needed_bytes": room.usage.needed_bytes,
        "free_bytes": room.free_bytes,
        "room_limit_bytes": room.limit_bytes,
        "room_source": room.limit_source,
    }


def _cpus(limits: Limits) -> dict[str, Any]:
    return {"usable": limits.cpus.value, "source": limits.cpus.source}
