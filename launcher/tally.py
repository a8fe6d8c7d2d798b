"""How many requests were answered, and how long did they take?

Counters in a worker's slot of the scoreboard. The worker counts as each request ends, and writes down what it counted
ten times a second and at its end: of a worker that was killed, the last tenth of a second is not counted. They are
never set back, nor cleared for the slot's next worker, which counts on: the sum over all slots is the pool's, it only
grows, and nobody has to carry anything over at an instant at which somebody reads.
"""

from __future__ import annotations

import math
import mmap
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from launcher.words import WORD_BYTES

# Upper ends of the buckets. From a handler that does nothing to what a proxy's usual deadline (60 s) still lets pass.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
BUCKETS = len(BOUNDS_S) + 1  # the last: longer than every bound
# Of a row: no response was begun, or nobody looks at the status; then the class of the status.
CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

_CELLS = len(CLASSES) * BUCKETS
TALLY_BYTES = (2 * _CELLS + 1) * WORD_BYTES  # a bucket of a class: how many were counted, and their seconds

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

    counts, sums: BUCKETS for each of CLASSES, the sums in seconds.
    """

    __slots__ = ("_words", "counts", "sums")

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        """Look at the TALLY_BYTES of a board's memory that begin at `at`."""
        view, end = memoryview(memory)[at : at + TALLY_BYTES], 2 * _CELLS
        self._words: memoryview[int] = view.cast("q")
        self.counts: memoryview[int] = self._words[:end:2]
        self.sums: memoryview[float] = view.cast("d")[1:end:2]

    @property
    def others(self) -> int:
        """How many have ended that are not among the durations."""
        return self._words[-1]

    @others.setter
    def others(self, value: int) -> None:
        self._words[-1] = value

    @property
    def requests(self) -> int:
        """How many requests and WebSockets have ended, of all workers that the slot ever had."""
        return sum(self.counts) + self.others

    def read(self) -> Tallied:
        """Return what is counted; what cannot have been counted is nothing."""
        by_class = tuple(self._row(row) for row in range(len(CLASSES)))
        return Tallied(by_class, self.others if 0 <= self.others < _MOST else 0)

    def mend(self) -> None:
        """Set back what a memory fault has overwritten. For who knows that no worker counts here now."""
        for row in range(len(CLASSES)):
            if not self._is_sound(row):
                for index in _row(row):
                    self.counts[index], self.sums[index] = 0, 0.0
        if not 0 <= self.others < _MOST:
            self.others = 0

    def _row(self, row: int) -> Durations:
        if not self._is_sound(row):
            return Durations()
        return Durations(tuple(self.counts[index] for index in _row(row)), sum(self.sums[index] for index in _row(row)))

    def _is_sound(self, row: int) -> bool:
        cells = _row(row)
        sums_are = all(math.isfinite(self.sums[index]) and self.sums[index] >= 0 for index in cells)
        return sums_are and all(0 <= self.counts[index] < _MOST for index in cells)


def _row(row: int) -> range:
    """Return the indices of a class's cells."""
    return range(row * BUCKETS, (row + 1) * BUCKETS)


class Counter:
    """What counts in a tally, for the one process that does.

    took_s: to be appended to, of requests whose status nobody looks at: the least that a request can pay. Adding up in
    shared memory costs it several times as much.
    """

    __slots__ = ("_counts", "_published", "_sums", "_tally", "took_s")

    def __init__(self, tally: Tally) -> None:
        """Go on from what the tally holds."""
        self._tally = tally
        self.took_s: list[float] = []
        self._counts, self._sums = list(tally.counts), list(tally.sums)
        self._published = self._counts.copy()

    def count(self, of_class: int, took_s: float) -> None:
        """Count a request. `of_class`: an index of CLASSES."""
        cell = of_class * BUCKETS + bisect_left(BOUNDS_S, took_s)
        self._counts[cell] += 1
        self._sums[cell] += took_s

    def count_other(self) -> None:
        """Count what is not among the durations; at once, there are few."""
        self._tally.others += 1

    def publish(self) -> None:
        """Write it down. Where requests are counted, too: `took_s` is not to grow meanwhile."""
        if self.took_s:
            self._sort_in()
        if self._counts == self._published:
            return
        for cell, (count, before) in enumerate(zip(self._counts, self._published, strict=True)):
            if count != before:  # word by word: struct.pack_into would write zeros first, which others would read
                self._tally.counts[cell], self._tally.sums[cell] = count, self._sums[cell]
        self._published[:] = self._counts

    def _sort_in(self) -> None:
        took_s = sorted(self.took_s)
        self.took_s.clear()
        ends = [bisect_right(took_s, bound_s) for bound_s in BOUNDS_S]
        for cell, (start, end) in enumerate(pairwise([0, *ends, len(took_s)])):
            self._counts[cell] += end - start
            self._sums[cell] += sum(took_s[start:end])


def summed(tallied: Iterable[Tallied]) -> Tallied:
    """Return the sum of what several slots have counted."""
    return sum(tallied, Tallied())
