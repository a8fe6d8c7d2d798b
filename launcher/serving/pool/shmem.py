"""What lies in shared memory that was not there when the workers were measured?

Files on a tmpfs are no worker's, and stay when all have gone: for what comes there are fewer workers. What workers map
themselves comes and goes with them: it is with what each of them has for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.limits.footprint import Footprint

_EVERY_S = 2.0
_WORTH = 4 << 20  # bytes; less is no reason to work out the sum again
# Until workers are taken back: what comes and goes must not start one each time. Longer after each time.
_WAIT_S, _LONGEST_S = 10.0, 3600.0


@dataclass(slots=True)
class Shmem:
    """Looks at it now and then. Sizes in bytes, instants monotonic in seconds."""

    _each: int = 0  # what a worker has of it for itself
    _workers: int = 0  # that were measured
    _next_at: float = 0.0
    _not_before: float = 0.0
    _wait_s: float = _WAIT_S

    def measured(self, workers: Sequence[Footprint], *, is_base: bool) -> None:
        """Take note of who was measured, and whether the sum is made from that, or still from what was seen before."""
        kinds = [one.parts.shmem_bytes for one in workers if one.parts is not None]
        self._each = sum(kinds) // max(1, len(kinds))
        if is_base or not self._workers:
            self._workers = len(workers)

    def without_workers(self, seen: int, workers: int) -> int:
        """Return what there would be if as many workers were there as the sum was made from."""
        return max(0, seen - self._each * (workers - self._workers))

    def is_due(self, now: float) -> bool:
        """Tell whether it is to be looked again; not again for a moment then."""
        if now < self._next_at:
            return False
        self._next_at = now + _EVERY_S
        return True

    def news(self, now: float, seen: int, workers: int, known: int) -> int | None:
        """Return what the sum is to be made with; None: as it was.

        seen: what there is. known: what there was by the last sum; less than that is not believed at once.
        """
        there = self.without_workers(seen, workers)
        if abs(there - known) < _WORTH or (there < known and now < self._not_before):
            return None
        return there

    def shrunk(self, now: float) -> None:
        """There are fewer workers for it now."""
        self._not_before, self._wait_s = now + self._wait_s, min(2 * self._wait_s, _LONGEST_S)
