"""How much longer or shorter does one command take than another, on a machine that is never quite still?

Both are measured in turns, and the turns change sides (ABBA), so that a drift of the machine meets both alike. What is
compared is the ratio of the medians; the ratios of the pairs tell how far to trust it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Pairs:
    """Durations in seconds, one of each side a pair, in the order of the pairs."""

    subject_s: tuple[float, ...]
    control_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the subject divided by the median of the control."""
        return median(self.subject_s) / median(self.control_s)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Each pair's own ratio."""
        return tuple(subject / control for subject, control in zip(self.subject_s, self.control_s, strict=True))


def measure_pairs(subject: Callable[[], float], control: Callable[[], float], pairs: int) -> Pairs:
    """Call both once without counting (caches, bytecode), then `pairs` times each, the first of a pair alternating."""
    subject()
    control()
    measured = list(islice(_turns(subject, control), pairs))
    return Pairs(tuple(pair[0] for pair in measured), tuple(pair[1] for pair in measured))


def _turns(subject: Callable[[], float], control: Callable[[], float]) -> Iterator[tuple[float, float]]:
    for number in count():
        if number % 2:
            control_s = control()
            yield subject(), control_s
        else:
            yield subject(), control()
