"""How is a benchmark's outcome shown and judged?"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.pairs import Pairs


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case: what was measured, and the limit in the unit of `value`; None where nothing was promised."""

    case: str
    pairs: Pairs
    value: float
    limit: float | None
    unit: str  # of value and limit: "x" or "ms"

    @property
    def kept(self) -> bool:
        """Whether the promise holds."""
        return self.limit is None or self.value <= self.limit

    def row(self) -> str:
        """Return one line of the table that docs/benchmarks.md has."""
        subject, control = (f"{median(times) * 1000:.0f}" for times in (self.pairs.subject_s, self.pairs.control_s))
        low, high = min(self.pairs.ratios), max(self.pairs.ratios)
        limit = "-" if self.limit is None else f"{_number(self.limit, self.unit)}{'' if self.kept else ' MISSED'}"
        spread = f"{low:.2f}-{high:.2f}"
        return f"| {self.case} | {subject} | {control} | {_number(self.value, self.unit)} | {spread} | {limit} |"

    def facts(self) -> dict[str, object]:
        """Return what the JSON file keeps."""
        return {
            "case": self.case,
            "subject_s": self.pairs.subject_s,
            "control_s": self.pairs.control_s,
            "value": self.value,
            "limit": self.limit,
            "unit": self.unit,
        }


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with a limit that is not relative to anything: a wait in seconds, a count."""

    case: str
    value: float
    limit: float | None  # None where nothing was promised
    unit: str  # "s", or nothing for what is counted
    beside: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise holds."""
        return self.limit is None or self.value <= self.limit

    def row(self) -> str:
        """Return one line of the table that docs/benchmarks.md has."""
        value, limit = (
            "-" if number is None else f"{number:.3g} {self.unit}".rstrip() for number in (self.value, self.limit)
        )
        return f"| {self.case} | {value} | {limit}{'' if self.kept else ' MISSED'} | {self.beside} |"

    def facts(self) -> dict[str, object]:
        """Return what the JSON file keeps."""
        return asdict(self)


FIGURE_HEADER = "| case | result | limit | |\n|---|---:|---:|---|"
HEADER = "| case | median ms | control ms | result | ratios of the pairs | limit |\n|---|---:|---:|---:|---|---|"


def machine() -> str:
    """Return what the numbers depend on, in one line."""
    return f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} CPUs, {platform.system()}"


def finish(outcomes: Sequence[Outcome | Figure], path: Path | None) -> int:
    """Write the JSON file if one is wanted, name every missed limit; return the exit code, 1 when one was missed."""
    if path is not None:
        cases = [outcome.facts() for outcome in outcomes]
        path.write_text(json.dumps({"machine": machine(), "cases": cases}, indent=1) + "\n")
    missed = [outcome.case for outcome in outcomes if not outcome.kept]
    print(f"\nlimits missed: {', '.join(missed)}" if missed else "\nevery limit kept")
    return 1 if missed else 0


def _number(value: float, unit: str) -> str:
    return f"{value:.2f} x" if unit == "x" else f"{value:.0f} {unit}"
