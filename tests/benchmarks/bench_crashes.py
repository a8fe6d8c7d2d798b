"""How soon is a worker's death on record, and do the other workers notice?

    python tests/benchmarks/bench_crashes.py [--seconds 40] [--burst 50] [--json FILE] [--only SERVER ...]

For each server: a pool of 4 is asked by 8 clients over kept connections; in every other quarter of the time its oldest
worker is killed with SIGKILL each second; the same with the bare server. Figures: the time from the kill to the report
on disk, and by how much the kills raise the clients' 99th percentile, against the bare server (a new worker's start
takes its CPU in both; what the launcher adds is the report). Then a pool of --burst workers loses all of them at once:
how many deaths are on record. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import FIGURE_HEADER, Figure, finish, machine
from benchmarks.serving_project import HELLO
from support.pool import Pool, start_bare, start_pool
from support.spawning import Spawner
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# From SIGKILL to the report on disk; what a run of this length can tell from nothing.
ON_DISK_MS, MOVED = 250.0, 1.25
WORKERS, CLIENTS, QUARTERS = 4, 8, 4
PAUSE_S = 0.02


@dataclass(slots=True)
class Clients:
    """What asks. answers: instant of the question and seconds to the answer."""

    port: int
    answers: list[tuple[float, float]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask meanwhile."""
        threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def p99_ms(self, spans: list[tuple[float, float]]) -> float:
        """Return that of the questions within these spans of time."""
        took = sorted(s for at, s in self.answers if any(start <= at < end for start, end in spans))
        return took[int(len(took) * 0.99)] * 1000

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._over.wait(PAUSE_S):
            before = time.monotonic()
            try:
                connection.request("GET", "/")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):  # its worker was killed
                connection.close()
                continue
            self.answers.append((before, time.monotonic() - before))


def started(spawn: Spawner, folder: Path, server: str, workers: int) -> Pool:
    """Start a pool that never gives up, and wait for its workers."""
    folder.mkdir()
    (folder / "main.py").write_text(HELLO, encoding="utf-8")
    words = ("--crash-dir", str(folder / "crashes"), "--restart-intensity", "9999", "--no-access-log")
    pool = start_pool(spawn.launch, folder, server, *words, workers=workers)
    pool.seen("worker_ready", workers, timeout_s=60)
    return pool


def reports(folder: Path) -> dict[int, tuple[dict[str, Any], float]]:
    """Return each report and the time at which it was written, by the pid it is of."""
    paths = list((folder / "crashes").glob("2*.json"))
    read = [(json.loads(path.read_text(encoding="utf-8")), path.stat().st_mtime) for path in paths]
    return {report["pid"]: (report, at) for report, at in read}


@dataclass(frozen=True, slots=True)
class Seen:
    """The clients' 99th percentiles, and when which worker was killed."""

    quiet_ms: float
    killing_ms: float
    kills: dict[int, float]

    @property
    def raised(self) -> float:
        """By how much the kills raise it."""
        return self.killing_ms / self.quiet_ms


def killing(pool: Pool, seconds: float) -> Seen:
    """Ask all the time; kill a worker a second in every other quarter of it."""
    clients, kills = Clients(pool.port), dict[int, float]()
    spans: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with clients.asking():
        for kill in itertools.islice(itertools.cycle([False, True]), QUARTERS):
            begin = time.monotonic()
            while time.monotonic() < begin + seconds / QUARTERS:
                if kill:
                    oldest = pool.workers()[0]
                    kills[oldest] = time.time()
                    pool.kill(oldest)
                time.sleep(1)
            spans[kill].append((begin, time.monotonic()))
    return Seen(clients.p99_ms(spans[False]), clients.p99_ms(spans[True]), kills)


def one_by_one(spawn: Spawner, folder: Path, server: str, seconds: float) -> Iterator[Figure]:
    """Kill workers of the launcher's pool, then of the bare server's."""
    pool = started(spawn, folder, server, WORKERS)
    ours = killing(pool, seconds)
    until(lambda: len(reports(folder)) >= len(ours.kills), "the reports", 20)
    found = reports(folder)
    pool.end()
    took_ms = sorted((found[pid][1] - at) * 1000 for pid, at in ours.kills.items())
    p99_ms = took_ms[min(len(took_ms) - 1, int(len(took_ms) * 0.99))]
    yield Figure(f"{server}: SIGKILL to disk, p99", p99_ms, ON_DISK_MS, "ms", f"median {median(took_ms):.1f}")
    control = start_bare(spawn, folder, server, workers=WORKERS)
    control.until(lambda: len(control.workers()) == WORKERS, "the bare server's workers")
    bare = killing(control, seconds)
    control.end()
    beside = f"{ours.killing_ms:.2f} ms (without kills {ours.quiet_ms:.2f}), bare {bare.killing_ms:.2f} ms "
    beside += f"({bare.quiet_ms:.2f}); {len(ours.kills)} kills"
    yield Figure(f"{server}: kills raise p99, against bare", ours.raised / bare.raised, MOVED, "x", beside)


def burst(spawn: Spawner, folder: Path, server: str, workers: int) -> Iterator[Figure]:
    """Kill all at once."""
    pool = started(spawn, folder, server, workers)
    pids, before = {event["pid"] for event in pool.named("worker_ready")}, time.time()
    for pid in pids:
        pool.kill(pid)
    until(lambda: recorded(folder) >= workers, "the records", 30)
    last = max(at for _, at in reports(folder).values()) - before
    pool.end()
    missing = len(pids) - recorded(folder)
    beside = f"{len(pids)} deaths, {len(pids & reports(folder).keys())} reports, the last after {last * 1000:.0f} ms"
    yield Figure(f"{server}: deaths without a record", missing, 0, "", beside)


def recorded(folder: Path) -> int:
    """Return how many deaths the reports are of."""
    return sum(1 + report["merged"] for report, _ in reports(folder).values())


def main() -> int:
    """Print one row a figure; return the exit code."""
    parser = argparse.ArgumentParser(description="how soon deaths are on record")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--burst", type=int, default=50)
    parser.add_argument("--only", nargs="+", choices=["gunicorn", "uvicorn"], default=["gunicorn", "uvicorn"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(f"{machine()}\n\n{FIGURE_HEADER}")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spawn = Spawner(folder / "processes")
        try:
            for server in options.only:
                figures += one_by_one(spawn, folder / f"one-{server}", server, options.seconds)
                figures += burst(spawn, folder / f"burst-{server}", server, options.burst)
        finally:
            spawn.end()
    for figure in figures:
        print(figure.row())
    return finish(figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
