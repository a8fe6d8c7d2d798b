"""Has the pool more memory than `--memory` allows it?

Its own processes are what counts, and what lies in shared memory of their group: the limit of a container, or the rest
of a machine, is another question. Each second by one line of /proc for each process, which takes pages that a fork
shares for each one's own; only when that is more than is allowed are the pages walked, and again every ten seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from launcher.limits.footprint import Footprint
from launcher.monitor.watched import LOOKS

LASTS_LOOKS = 9  # in a row: a garbage collection, or a few large answers, are over by then
_AT_ONCE_S = 0.05  # spent on walking pages before the next answer is due
_WALKED_S = 10.0  # as long as a walk holds, but for what has come since; requests un-share pages meanwhile


class Sizes(Protocol):
    """Says how much memory a process has; None: it is gone."""

    def cheap(self, pid: int) -> int | None:
        """Return at once the bytes that are resident and of no file, those shared with a fork, too."""

    def footprint(self, pid: int) -> Footprint | None:
        """Return what a walk of its pages finds."""


@dataclass(frozen=True, slots=True)
class Excess:
    """What the pool has (None: that is not known now), and what it may have, in bytes; looks: so many it was more."""

    used_bytes: int | None
    budget_bytes: int
    looks: int = 0

    @property
    def is_due(self) -> bool:
        """Whether something is to be done now. Nobody is killed for it, so that what comes and goes is let be."""
        return self.looks >= LASTS_LOOKS and self.looks % LOOKS == 0


@dataclass(frozen=True, slots=True)
class _Walked:
    at: float
    part_bytes: int  # of what all hold together
    cheap_bytes: int

    def now(self, cheap_bytes: int) -> int:
        """Return what it holds by now: what has come since is its own."""
        return max(0, self.part_bytes + cheap_bytes - self.cheap_bytes)


class Allowance:
    """Looks at it. `look` has to be called about once a second."""

    def __init__(
        self,
        budget_bytes: Callable[[], int | None],
        pids: Callable[[], Iterable[int]],
        sizes: Sizes,
        clock: Callable[[], float] = time.monotonic,
        *,
        shares: bool = False,
    ) -> None:
        """Hold what the processes `pids` have against `budget_bytes`; None: nobody has said how much that is.

        shares: a fork shares much (--preload): where pages may not be walked nothing is known.
        """
        self._budget_bytes, self._pids, self._sizes, self._clock = budget_bytes, pids, sizes, clock
        self._shares = shares
        self._walked: dict[int, _Walked] = {}
        self._looks = 0

    def look(self, shmem_bytes: int) -> Excess | None:
        """Return what they have, with `shmem_bytes` of their group; None: there is no budget."""
        if (budget := self._budget_bytes()) is None:
            return None
        if (used := self._used(shmem_bytes, budget)) is not None:
            self._looks = self._looks + 1 if used > budget else 0
        return Excess(used, budget, self._looks)

    def _used(self, shmem_bytes: int, budget: int) -> int | None:
        cheap = {pid: size for pid in self._pids() if (size := self._sizes.cheap(pid))}  # the dead have 0
        self._walked = {pid: walked for pid, walked in self._walked.items() if pid in cheap}
        used = shmem_bytes + sum(cheap.values())
        if used <= budget:
            return used
        self._walk(cheap)
        if any(pid not in self._walked for pid in cheap):
            return None
        return shmem_bytes + sum(self._walked[pid].now(size) for pid, size in cheap.items())

    def _walk(self, cheap: dict[int, int]) -> None:
        begun = self._clock()
        at = {pid: self._walked[pid].at if pid in self._walked else -math.inf for pid in cheap}
        for pid in sorted(cheap, key=lambda pid: at[pid]):
            if begun - at[pid] < _WALKED_S or self._clock() - begun > _AT_ONCE_S:
                return
            found = self._sizes.footprint(pid)
            if found is not None and (found.is_exact or not self._shares):
                self._walked[pid] = _Walked(begun, _part(found), cheap[pid])


def _part(found: Footprint) -> int:
    """Return its part of what cannot be given back, without shared memory."""
    return found.own_bytes if found.parts is None else found.parts.anon_bytes + found.kernel_bytes
