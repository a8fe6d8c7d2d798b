"""How many requests were answered, and how long did they take?

Counters in a worker's slot of the scoreboard, which the worker writes as each request ends: whatever kills it, nothing
that was counted is lost. They are never set back, nor cleared for the slot's next worker, which counts on: the sum over
all slots is the pool's, it only grows, and nobody has to carry anything over at an instant at which somebody reads.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable
from dataclasses import dataclass

from launcher.words import WORD_BYTES

# Upper ends of the buckets. From a handler that does nothing to what a proxy's usual deadline (60 s) still lets pass.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
BUCKETS = len(BOUNDS_S) + 1  # the last: longer than every bound
# Of a row: no response was begun, or nobody looks at the status; then the class of the status.
CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

_OTHERS_AT = len(CLASSES) * BUCKETS
_WORDS = _OTHERS_AT + 1
TALLY_BYTES = (_WORDS + len(CLASSES)) * WORD_BYTES

_MOST = 1 << 53  # whatever is more was not counted: a memory fault has overwritten it


@dataclass(frozen=True, slots=True)
class Durations:
    """Requests by how long they took: `counts[i]` at most BOUNDS_S[i] and longer than the bound before; their sum."""

    counts: tuple[int, ...] = (0,) * BUCKETS
    sum_s: float = 0.0

    def __add__(self, other: Durations) -> Durations:
        counts = tuple(one + more for one, more in zip(self.counts, other.counts, strict=True))
        return Durations(counts, self.sum_s + other.sum_s)


@dataclass(frozen=True, slots=True)
class Tallied:
    """What was counted at one instant: requests by class (as CLASSES), and what else has ended (WebSockets)."""

    by_class: tuple[Durations, ...] = (Durations(),) * len(CLASSES)
    others: int = 0

    @property
    def durations(self) -> Durations:
        """Return those of all requests, whatever their class."""
        return sum(self.by_class, Durations())

    @property
    def requests(self) -> int:
        """Return how many requests and WebSockets have ended."""
        return sum(sum(durations.counts) for durations in self.by_class) + self.others

    def __add__(self, other: Tallied) -> Tallied:
        by_class = tuple(one + more for one, more in zip(self.by_class, other.by_class, strict=True))
        return Tallied(by_class, self.others + other.others)


class Tally:
    """The live view of one slot's counters.

    counts: BUCKETS words for each of CLASSES, then one for what is not among the durations. sums: seconds, by class.
    """

    __slots__ = ("counts", "sums")

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        """Look at the TALLY_BYTES of a board's memory that begin at `at`."""
        middle = at + _WORDS * WORD_BYTES
        self.counts: memoryview[int] = memoryview(memory)[at:middle].cast("q")
        self.sums: memoryview[float] = memoryview(memory)[middle : at + TALLY_BYTES].cast("d")

    @property
    def others(self) -> int:
        """How many have ended that are not among the durations."""
        return self.counts[_OTHERS_AT]

    @others.setter
    def others(self, value: int) -> None:
        self.counts[_OTHERS_AT] = value

    @property
    def requests(self) -> int:
        """How many requests and WebSockets have ended, of all workers that the slot ever had."""
        return sum(self.counts)

    def read(self) -> Tallied:
        """Return what is counted; what cannot have been counted is nothing."""
        by_class = tuple(self._row(row) for row in range(len(CLASSES)))
        return Tallied(by_class, self.others if 0 <= self.others < _MOST else 0)

    def mend(self) -> None:
        """Set back what a memory fault has overwritten. For who knows that no worker counts here now."""
        for row in range(len(CLASSES)):
            if not self._is_sound(row):
                self.sums[row] = 0.0
                for index in range(row * BUCKETS, (row + 1) * BUCKETS):
                    self.counts[index] = 0
        if not 0 <= self.others < _MOST:
            self.others = 0

    def _row(self, row: int) -> Durations:
        if not self._is_sound(row):
            return Durations()
        return Durations(tuple(self.counts[row * BUCKETS : (row + 1) * BUCKETS]), self.sums[row])

    def _is_sound(self, row: int) -> bool:
        counts = self.counts[row * BUCKETS : (row + 1) * BUCKETS]
        return math.isfinite(self.sums[row]) and self.sums[row] >= 0 and all(0 <= count < _MOST for count in counts)


def summed(tallied: Iterable[Tallied]) -> Tallied:
    """Return the sum of what several slots have counted."""
    return sum(tallied, Tallied())
