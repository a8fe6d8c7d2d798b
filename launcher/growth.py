"""How may the pool find out how many workers it has?

What boot decides and the pool carries out; it crosses the exec as JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.budget import Demand, Measured, Supply
from launcher.budget.regions import usable_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The room there is. Sizes in bytes.

    most_workers: what the CPUs and --max-workers allow.
    guessed_workers: how many of a guessed size there would be, where nothing can be measured.
    usable_bytes: the part of the limit that may be used; `memory`, `memory_origin`: who said so (`Demand`).
    limit_bytes, limit_source: as `Supply` has them. is_limited: it is a limit of ours, so that what lies in shared
        memory below it is ours too.
    is_pilot: the pool begins with one worker. measured: what it begins with otherwise, of an earlier start.
    preload: there has to be room for the application once more.
    remember: the file for the next start, and under which `key`; empty: it is not remembered.
    """

    most_workers: int
    guessed_workers: int
    usable_bytes: int
    memory: float | int | None = None
    memory_origin: str = "default"
    limit_bytes: int
    limit_source: str = ""
    is_limited: bool
    is_pilot: bool
    preload: bool = False
    remember: str = ""
    key: str = ""
    measured: Measured | None = None

    def sum_of(self, measured: Measured) -> tuple[Demand, Supply]:
        """Return what the sum is made from when `measured` is what a worker takes."""
        demand = Demand(memory=self.memory, memory_origin=self.memory_origin, preload=self.preload, measured=measured)
        return demand, self._supply

    def with_limit(self, limit_bytes: int, source: str) -> Growth:
        """Return it below another limit, which was changed meanwhile."""
        changed = dataclasses.replace(self, limit_bytes=limit_bytes, limit_source=source)
        demand = Demand(memory=self.memory, memory_origin=self.memory_origin)
        return dataclasses.replace(changed, usable_bytes=usable_bytes(demand, changed._supply))  # noqa: SLF001 - its own

    @property
    def _supply(self) -> Supply:
        return Supply(
            memory_bytes=self.limit_bytes,
            memory_source=self.limit_source,
            memory_is_limited=self.is_limited,
            cpus=self.most_workers,
            cpus_source="",
            cpus_are_limited=True,
            platform="",
        )

    def crossing(self) -> dict[str, object]:
        """Return it for the handover."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plan(cls, plan: Mapping[str, Any] | None) -> Growth | None:
        """Return what `crossing` made; None for None."""
        if plan is None:
            return None
        measured = plan.get("measured")
        return cls(**{**plan, "measured": Measured(**measured) if measured else None})
