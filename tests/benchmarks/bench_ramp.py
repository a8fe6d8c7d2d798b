"""Does a pool that finds its size by itself serve as early as one worker, and is it as large as fast as a fixed one?

    python tests/benchmarks/bench_ramp.py [--rounds 9] [--workers 6] [--json FILE] [--only SERVER ...]

A round is four starts of the FastAPI example, in the next round the other way round: a pool that nobody has measured
before (cold), one that was (remembered), a fixed one of one worker, a fixed one of all. Of each the time to the first
200 is taken, and the time until so many workers have said that they are ready. What is judged is the median of the
rounds' ratios. Exit code 1 when a limit is missed. Linux only: elsewhere nothing is measured.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bench_serving import Compared
from benchmarks.bench_start import DEADLINE_S, POLL_S, free_port, kill_group
from benchmarks.project import BIN, environment
from benchmarks.report import finish, machine
from benchmarks.serving_project import Cpus, temporary_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# The limits, of ratios. The first is "not later": less than a twentieth is not told from nothing (bench_start: the same
# script against itself is 0.96 to 1.07).
FIRST, ALL_REMEMBERED, ALL_COLD = 1.05, 1.3, 2.2
# Of six where one goes first; under uvicorn with the supervisor that one worker has not, 30 to 40 ms of 600.
FIRST_OF_ALL = 1.1
SERVERS = ("gunicorn", "uvicorn")
READY = b'"launcher.worker_ready"'
HEADER = "| case | pool | control | result | quartiles of the rounds | limit |\n|---|---:|---:|---:|---|---|"


@dataclass(frozen=True, slots=True)
class Start:
    """How long one start took, in ms: to the first 200, and until all its workers were ready."""

    first_ms: float
    all_ms: float


class Starter:
    """Starts pools in one folder."""

    def __init__(self, folder: Path, server: str, workers: int) -> None:
        """Keep what is remembered, and the output of the last start, in `folder`, which holds the application."""
        self.workers = workers
        self._folder, self._server = folder, server
        self._kept, self._output = folder / ".launcher" / "memory.json", folder / "output"

    def first_time(self) -> None:
        """Start once without counting: bytecode, and what is remembered from then on."""
        self._kept.parent.mkdir(exist_ok=True)
        self._kept.unlink(missing_ok=True)
        for _ in range(2):
            self._start(self._grown(), self.workers, until_kept=True)

    def starts(self, number: int) -> dict[str, Start]:
        """Return those of a round."""
        order = ("one", "cold", "remembered", "all")  # what is compared, side by side
        return {name: self._started(name) for name in (order if number % 2 else reversed(order))}

    def _started(self, name: str) -> Start:
        match name:
            case "one":
                return self._start(("--workers", "1"), 1)
            case "all":
                return self._start(("--workers", str(self.workers)), self.workers)
            case "remembered":
                return self._start(self._grown(), self.workers)
            case _:
                return self._cold()

    def _cold(self) -> Start:
        """Start as if nobody had ever measured the application."""
        aside = self._kept.rename(self._kept.with_suffix(".aside"))
        try:
            return self._start(self._grown(), self.workers)
        finally:
            aside.rename(self._kept)

    def _grown(self) -> tuple[str, ...]:
        return ("--workers-per-core", str(self.workers), "--max-workers", str(self.workers))

    def _start(self, words: Sequence[str], workers: int, *, until_kept: bool = False) -> Start:
        """Start, wait until all is there, kill it. RuntimeError when it fails."""
        port = free_port()
        told = ("--server", self._server, "--host", "127.0.0.1", "--port", str(port), "--prestart", "off")
        argv = (str(BIN / "launcher"), "run", "app.main:app", *told, "--no-access-log", "--log-format", "json", *words)
        with self._output.open("wb") as output:
            before = time.perf_counter()
            process = subprocess.Popen(
                argv,
                cwd=self._folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._wait(process, lambda: answers(port))
            first = time.perf_counter()
            self._wait(process, lambda: self._output.read_bytes().count(READY) >= workers)
            ended = time.perf_counter()
            if until_kept:
                self._wait(process, self._kept.exists)
            return Start((first - before) * 1000, (ended - before) * 1000)
        finally:
            kill_group(process)

    def _wait(self, process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
        deadline = time.perf_counter() + DEADLINE_S
        while not condition():
            if process.poll() is not None or time.perf_counter() > deadline:
                raise RuntimeError(f"{process.args!r} did not serve:\n{self._output.read_text(errors='replace')}")
            time.sleep(POLL_S)


def answers(port: int) -> bool:
    """Tell whether the route that does least is answered with 200; who listens already lets us wait."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def figures(server: str, workers: int, rounds: Sequence[dict[str, Start]]) -> Iterator[Compared]:
    """Compare everything of a server."""

    def compared(case: str, name: str, of: Callable[[Start], float], control: str, limit: float | None) -> Compared:
        pairs = tuple((of(starts[name]), of(starts[control])) for starts in rounds)
        ratios = [ours / theirs for ours, theirs in pairs]
        low, _, high = quantiles(ratios, n=4, method="inclusive") if ratios[1:] else ratios * 3
        return Compared(f"{server}, {case}, ms", median(ratios), limit, "x", pairs=pairs, quartiles=(low, high))

    first, everyone = (lambda start: start.first_ms), (lambda start: start.all_ms)
    yield compared("first 200, cold", "cold", first, "one", FIRST)
    yield compared("first 200, remembered", "remembered", first, "one", FIRST_OF_ALL)
    yield compared("first 200, remembered, against cold", "remembered", first, "cold", FIRST)
    yield compared(f"all {workers}, remembered", "remembered", everyone, "all", ALL_REMEMBERED)
    yield compared(f"all {workers}, cold", "cold", everyone, "all", ALL_COLD)


def main() -> int:
    """Print the rows of a server as soon as it is measured; return the exit code."""
    parser = argparse.ArgumentParser(description="how fast a pool grows")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=SERVERS)
    options = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("error: where there is no Linux a pool has its size from the beginning")
    print(f"{machine()}; up to {options.workers} workers; {options.rounds} rounds\n\n{HEADER}", flush=True)
    outcomes: list[Compared] = []
    with temporary_project(Cpus(None, None)) as project:
        for server in options.only:
            starter = Starter(project.folder, server, options.workers)
            starter.first_time()
            rounds = [starter.starts(number) for number in range(options.rounds)]
            for figure in figures(server, options.workers, rounds):
                print(figure.row(), flush=True)
                outcomes.append(figure)
    return finish(outcomes, options.json)


if __name__ == "__main__":
    sys.exit(main())
