"""How many workers fit?

Arithmetic only: `launcher.limits` reads what there is, `launcher.settings` what was asked for. Every term carries its
source, so that a person can check the sum.
"""

from __future__ import annotations

from launcher.budget.regions import fitting
from launcher.budget.values import (
    ARBITER_BYTES,
    DEFAULT_WORKER_BYTES,
    DEFAULT_WORKER_SOURCE,
    FILES_BYTES,
    GROWTH_BYTES,
    HEADROOM_BYTES,
    MIB,
    MONITOR_BYTES,
    SHARE_OF_HOST,
    SHARE_OF_LIMIT,
    Demand,
    Measured,
    Region,
    Supply,
)
from launcher.budget.workers import Budget, plan_workers

__all__ = [
    "ARBITER_BYTES",
    "DEFAULT_WORKER_BYTES",
    "DEFAULT_WORKER_SOURCE",
    "FILES_BYTES",
    "GROWTH_BYTES",
    "HEADROOM_BYTES",
    "MIB",
    "MONITOR_BYTES",
    "SHARE_OF_HOST",
    "SHARE_OF_LIMIT",
    "Budget",
    "Demand",
    "Measured",
    "Region",
    "Supply",
    "fitting",
    "plan_workers",
]
