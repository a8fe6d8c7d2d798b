"""What was decided about the pool?

The classes of `launcher.servers` put it into the handover under `pool`, with the names of these fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.growth import Growth

LEAST_INTENSITY = 3  # deaths in a minute: fewer happen to a healthy pool (DESIGN §5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Durations in seconds. The defaults are those of DESIGN §6, for a server that is started without the launcher.

    worker_timeout_s: how long a worker may be silent; 0: for ever.
    max_worker_lifetime_s: the age at which a worker is replaced; None: never.
    restart_intensity: unexplained deaths of ready workers within 60 s after which the pool gives up; None: as many as
        there are workers, at least 3.
    wrap_app: plugins that put something around the application. health_worker: `module:function`, asked in each worker.
    metrics_by_status: whether answers are counted by the class of their status.
    growth: how the pool may find its size; None: it is `workers` until somebody says otherwise.
    memory: the part of the memory limit that the pool may use (`Demand`). may_overcommit: or more.
    """

    workers: int = 1
    startup_timeout_s: float = 120.0
    worker_timeout_s: float = 30.0
    graceful_timeout_s: float = 30.0
    drain_delay_s: float = 0.0
    max_worker_lifetime_s: float | None = None
    restart_intensity: int | None = None
    wrap_app: tuple[str, ...] = ()
    health_worker: str | None = None
    metrics_by_status: bool = False
    growth: Growth | None = None
    memory: float | int | None = None
    may_overcommit: bool = False

    @classmethod
    def from_plan(cls, plan: Mapping[str, Any]) -> Rules:
        """Return what `launcher.servers.options.pool_rules` made; what is not there has its default."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {name: value for name, value in plan.items() if name in names}
        growth = Growth.from_plan(known.get("growth"))
        return cls(**known | {"wrap_app": tuple(known.get("wrap_app", ())), "growth": growth})

    def intensity(self, workers: int) -> int:
        """Return how many deaths within 60 s are too many for a pool of this size."""
        return max(LEAST_INTENSITY, workers) if self.restart_intensity is None else self.restart_intensity
