"""Who migrated when? Out of the journal that the migration itself writes: no log and no lock is believed here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Journal:
    """`spans`: first and last sign of life, in seconds, of each process that migrated, in the order they began."""

    spans: tuple[tuple[float, float], ...]
    signs: int  # lines of the process that began last
    finished: int

    @property
    def begun(self) -> int:
        """How many processes began the migration."""
        return len(self.spans)

    @property
    def overlaps(self) -> int:
        """How many began before all that had begun earlier were silent."""
        ends = accumulate((end for _begin, end in self.spans), max)
        return sum(begin < end for (begin, _end), end in zip(self.spans[1:], ends, strict=False))


def read_journal(path: Path) -> Journal:
    """Read lines of `<seconds> <pid> works|ends`; a missing file is an empty journal."""
    lines = path.read_text().splitlines() if path.exists() else []
    seen: dict[str, list[float]] = {}
    finished = 0
    for second, pid, what in (line.split() for line in lines):
        seen.setdefault(pid, []).append(float(second))
        finished += what == "ends"
    spans = tuple((min(times), max(times)) for times in seen.values())
    return Journal(spans, len(list(seen.values())[-1]) if seen else 0, finished)
