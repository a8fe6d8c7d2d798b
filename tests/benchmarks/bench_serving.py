"""What does serving cost in the launcher's pool, against the bare server with the same workers?

    python tests/benchmarks/bench_serving.py [--pairs 15] [--seconds 2] [--self] [--json FILE] [--only CASE ...]
    python tests/benchmarks/bench_serving.py --quick    # three short pairs, to see that it works

A pair is both servers, started anew (where a process's memory lies is worth a percent or two, for as long as it lives),
warmed up, and asked in turns: launcher, bare, bare, launcher; in the next pair the other way round. What is judged is
the median of the pairs' ratios, or of their differences.

The server's processes have one CPU and wrk another: unpinned, the CPU time of a request depends on who ran beside it.
What runs beside both is in the caches: a turn that others disturb is repeated, twice at most, and the row "CPUs that
others took" says how still it was. Above 0.1 nothing is proven.

With `--self` both sides are the bare server: how far from 1 that comes out is what this machine cannot tell apart.

Needs Linux and wrk. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.project import BIN
from benchmarks.report import Figure, finish, machine
from benchmarks.serving_costs import MEBIBYTE, Memory
from benchmarks.serving_project import WORKERS, Cpus, Serving, Slice, temporary_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.serving_project import Project

FASTAPI, HELLO, MEMORY_MB = 1.02, 1.05, 4.0  # the limits
QUICK_PAIRS, QUICK_S = 3, 1

# No access log on either side: what a line costs is a question of its own.
RUN = (
    *(str(BIN / "launcher"), "run", "-w", str(WORKERS), "--host", "127.0.0.1", "--port", "PORT"),
    *("--prestart", "off", "--no-access-log"),
)
GUNICORN = (
    *(str(BIN / "gunicorn"), "-k", "uvicorn_worker.UvicornWorker", "-w", str(WORKERS), "-b", "127.0.0.1:PORT"),
    "--no-control-socket",
)
UVICORN = (str(BIN / "uvicorn"), "--workers", str(WORKERS), "--port", "PORT", "--no-access-log")


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared. `path`: what is asked for; `limit`: the highest allowed ratio of CPU time per request."""

    name: str
    launcher: tuple[str, ...]
    bare: tuple[str, ...]
    path: str
    limit: float


CASES = {
    # /healthz: the route that does least, so that a share of it is the largest share there can be.
    "fastapi": Case(
        "FastAPI example, gunicorn",
        (*RUN, "app.main:app", "--server", "gunicorn"),
        (*GUNICORN, "app.main:app"),
        "/healthz",
        FASTAPI,
    ),
    "gunicorn": Case(
        "hello, gunicorn",
        (*RUN, "hello:app", "--server", "gunicorn"),
        (*GUNICORN, "hello:app"),
        "/",
        HELLO,
    ),
    "uvicorn": Case(
        "hello, uvicorn",
        (*RUN, "hello:app", "--server", "uvicorn"),
        (*UVICORN, "hello:app"),
        "/",
        HELLO,
    ),
}


@dataclass(frozen=True, slots=True)
class Side:
    """One server's part in a pair."""

    slices: tuple[Slice, ...]
    memory: Memory

    @property
    def cpu_us(self) -> float:
        """CPU time per request in microseconds."""
        return sum(each.cpu_s for each in self.slices) / sum(each.load.requests for each in self.slices) * 1e6

    @property
    def rate(self) -> float:
        """Requests a second."""
        return sum(each.load.rate for each in self.slices) / len(self.slices)

    @property
    def p99_ms(self) -> float:
        """The mean of the slices' 99th percentiles."""
        return sum(each.load.p99_s for each in self.slices) / len(self.slices) * 1e3

    @property
    def others(self) -> float:
        """How many CPUs somebody else had meanwhile."""
        return max(each.others for each in self.slices)


Pair = tuple[Side, Side]  # launcher, bare


def measure_pair(project: Project, case: Case, number: int, duration_s: int) -> Pair:
    """Start both servers, the first of them and of the turns alternating from pair to pair; kill them."""
    order = (case.launcher, case.bare) if number % 2 else (case.bare, case.launcher)
    with project.serving(order[0], case.path) as first, project.serving(order[1], case.path) as second:
        first.warm_up()
        second.warm_up()
        one = first.measure(duration_s)
        slices = (second.measure(duration_s), second.measure(duration_s))
        sides = side(first, (one, first.measure(duration_s))), side(second, slices)
    return sides if number % 2 else (sides[1], sides[0])


def side(serving: Serving, slices: tuple[Slice, ...]) -> Side:
    """Return its slices with what it occupies after them."""
    return Side(slices, serving.memory())


@dataclass(frozen=True, slots=True)
class Compared(Figure):
    """A figure that is the median over pairs. Its value is the launcher's divided by the bare server's, or minus it."""

    pairs: tuple[tuple[float, float], ...] = ()
    quartiles: tuple[float, float] = (0.0, 0.0)

    def row(self) -> str:
        """Return one line of the table that docs/benchmarks.md has."""
        ours, bare = (f"{median(values):.4g}" for values in zip(*self.pairs, strict=True))
        low, high = (self._text(value) for value in self.quartiles)
        limit = "-" if self.limit is None else f"{self.limit:.2f} {self.unit}{'' if self.kept else ' MISSED'}"
        return f"| {self.case} | {ours} | {bare} | {self._text(self.value)} {self.unit} | {low} to {high} | {limit} |"

    def _text(self, value: float) -> str:
        return f"{value:.3f}" if self.unit == "x" else f"{value:+.2f}"


HEADER = "| case | launcher | bare | result | quartiles of the pairs | limit |\n|---|---:|---:|---:|---|---|"


def compared(name: str, pairs: Sequence[Pair], of: Callable[[Side], float], unit: str, limit: float | None) -> Compared:
    """Compare what `of` tells of each side. `unit`: "x" for ratios, anything else for differences in that unit."""
    values = tuple((of(ours), of(bare)) for ours, bare in pairs)
    each = [ours / bare if unit == "x" else ours - bare for ours, bare in values]
    low, _, high = quantiles(each, n=4, method="inclusive") if each[1:] else each * 3
    return Compared(name, median(each), limit, unit, pairs=values, quartiles=(low, high))


def figures(case: Case, pairs: Sequence[Pair]) -> Iterator[Compared]:
    """Compare everything of a case."""
    name = case.name
    yield compared(f"{name}: CPU per request, us", pairs, lambda side: side.cpu_us, "x", case.limit)
    yield compared(f"{name}: requests a second", pairs, lambda side: side.rate, "x", None)
    yield compared(f"{name}: p99, ms", pairs, lambda side: side.p99_ms, "x", None)
    yield compared(f"{name}: CPUs that others took", pairs, lambda side: side.others, "", None)
    yield compared(f"{name}: arbiter and scoreboard, MB", pairs, lambda side: held(side.memory), "MB", MEMORY_MB)
    yield compared(f"{name}: monitor, MB", pairs, lambda side: side.memory.monitor / MEBIBYTE, "MB", None)
    yield compared(f"{name}: with what workers share, MB", pairs, lambda side: shared(side.memory), "MB", None)
    yield compared(f"{name}: all processes, MB", pairs, lambda side: whole(side.memory), "MB", None)


def held(memory: Memory) -> float:
    """Return what the arbiter (uvicorn's with the resource tracker) has for itself, with the scoreboard."""
    return (memory.private + memory.board) / MEBIBYTE


def shared(memory: Memory) -> float:
    """Return all the anonymous memory that the arbiter has, with the scoreboard."""
    return (memory.own + memory.board) / MEBIBYTE


def whole(memory: Memory) -> float:
    """Return what all processes occupy; what they map of the scoreboard is in it."""
    return memory.whole / MEBIBYTE


def choose_cpus(*, pinned: bool) -> Cpus:
    """Return two CPUs that we may use; none when there is only one, or when they are not to be chosen."""
    usable = sorted(os.sched_getaffinity(0))
    return Cpus(usable[0], usable[-1]) if pinned and usable[1:] else Cpus(None, None)


def missing() -> str | None:
    """Name what has to be installed before anything can be compared."""
    absent = [name for name in ("uvloop", "httptools") if importlib.util.find_spec(name) is None]
    absent += [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    return ", ".join(absent) or None


def main() -> int:
    """Print the rows of a case as soon as it is measured; return the exit code."""
    options = arguments()
    if (absent := missing()) is not None:
        sys.exit(f"error: not installed: {absent}")
    cpus = choose_cpus(pinned=not options.unpinned)
    where = "unpinned" if cpus.server is None else f"server on CPU {cpus.server}, wrk on CPU {cpus.client}"
    print(f"{machine()}; {where}; {WORKERS} workers; {options.pairs} pairs of 2 x {options.seconds} s a side")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}\n\n{HEADER}", flush=True)
    outcomes: list[Compared] = []
    with temporary_project(cpus) as project:
        for case in (CASES[key] for key in options.only):
            asked = Case(f"bare: {case.name}", case.bare, case.bare, case.path, case.limit) if options.self else case
            pairs = [measure_pair(project, asked, number, options.seconds) for number in range(options.pairs)]
            for figure in figures(asked, pairs):
                print(figure.row(), flush=True)
                outcomes.append(figure)
    return finish(outcomes, options.json)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="what serving costs, against the bare server")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--seconds", type=int, help="of load, twice a side and pair")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs of {QUICK_S} s")
    parser.add_argument("--self", action="store_true", help="the bare server against itself")
    parser.add_argument("--unpinned", action="store_true", help="leave it to the kernel who runs where")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    options.pairs = options.pairs or (QUICK_PAIRS if options.quick else 15)
    options.seconds = options.seconds or (QUICK_S if options.quick else 2)
    return options


if __name__ == "__main__":
    sys.exit(main())
