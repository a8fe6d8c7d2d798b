"""How many workers boot at once while nobody serves?

An import keeps a CPU busy: six at once on two CPUs are all there when the last one is, and so is the first answer. So
where there are to be clearly more than CPUs few go first, with a CPU left over, and the rest follow as soon as one of
them serves: the first answer is as early as a single worker's, and all are there hardly later.

Only the order changes. What has failed is the others' reason to wait (`launcher.serving.pool.restarts`) only where it
failed before they would have been started: once a first one has failed the rest follow at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.procfs import cpu_s

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool
    from launcher.serving.pool.members import Member

# Workers for each CPU from which it is worth it. Below (two on two) all would be later by the one that went first.
_WORTH = 1.5
# Whoever boots for longer may hang, or wait for something other than a CPU: that must not keep the others away. Where a
# boot is allowed less than four times that, a quarter of it: a pool that hangs as a whole is to end hardly later.
PATIENCE_S, _PATIENCE_SHARE = 5.0, 0.25
_TOLD_S, _BUSY = 0.5, 0.5  # from this age on a boot that has had a CPU for less than this part of it waits for others


@dataclass(slots=True)
class Wave:
    """The first starts, and again those after all workers have died.

    cpus: how many may be used now. cpu_s: for how many seconds a process has had one; None: nobody knows.
    """

    cpus: Callable[[], float]
    cpu_s: Callable[[int], float | None] = cpu_s
    _held: int = 0

    def look(self, pool: Pool, missing: int) -> tuple[int, int]:
        """Return how many of those that are missing wait, and how many are to be started whatever has just failed."""
        if self._held and pool.restarts.failures:
            owed, self._held = self._held, 0
            return 0, owed
        if self._held:
            patience_s = min(PATIENCE_S, pool.rules.startup_timeout_s * _PATIENCE_SHARE)
            booting = [(one, pool.now - one.started) for one in pool.members.booting]
            is_late = any(age_s >= patience_s or self._waits(one, age_s) for one, age_s in booting)
            self._held = 0 if is_late or pool.members.serving else self._held
        elif not pool.members.active and not pool.restarts.failures:
            self._held = missing - min(missing, self._first(missing))
        return self._held, 0

    def _first(self, workers: int) -> int:
        if workers <= 1:
            return workers
        cpus = round(self.cpus(), 6)
        return workers if workers < cpus * _WORTH else max(1, math.floor(cpus) - 1)

    def _waits(self, member: Member, age_s: float) -> bool:
        """Tell whether it boots without a CPU: it waits for a disk, a database, or for others on a busy host."""
        if age_s < _TOLD_S:
            return False
        had_s = self.cpu_s(member.pid)
        return had_s is not None and had_s < age_s * _BUSY
