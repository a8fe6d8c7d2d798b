"""How many workers of 200 MB serve in 1 GiB without being killed, by the launcher's own number and by usual rules?

    python tests/benchmarks/bench_density.py [--seconds 6] [--json FILE] [--only APPLICATION ...]

Each way is started in a memory group of its own, and asked now and then for so long once its workers are there. What
is shown: how many serve in the end, how many the kernel has killed, how many questions were not answered. The rules:
2 x CPUs + 1 (gunicorn's documentation), and the limit divided by what one worker has resident (RSS), each with the bare
gunicorn. Of the launcher's pools none may be killed, and no question lost. Exit code 1 when one is.

Needs Linux, and to be root where there is a memory controller (cgroup v1 or v2).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import Figure, finish, machine
from support.memory_group import memory_group
from support.pool import start_bare, start_pool
from support.spawning import Spawner
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.memory_group import MemoryGroup
    from support.pool import Pool

LIMIT_BYTES = 1 << 30
MEBIBYTE = 2**20
HELD_BYTES = 180 * MEBIBYTE  # whoever has so much resident has imported the application
PAUSE_S = 0.015  # between two questions: light traffic
BOOT_S, STILL_S = 30.0, 2.5  # until the workers are there; as long as their number has to stay the same

# About 200 MB each. A request reads one thing: of Python's objects that writes to the page that has its count.
HELD = {
    "bytes": "held = [bytes([i % 256]) * 10**6 for i in range(200)]\nread = lambda i: held[i % 200][0]",
    "objects": 'held = [{"id": i, "name": f"item {i}"} for i in range(640_000)]\nread = lambda i: held[i]["id"]',
    "numpy": "import numpy\nheld = numpy.ones(25_000_000)\nread = lambda i: float(held[i])",
}
APP = """
import random

{held}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    body = b'{{"read": %d}}' % read(random.randrange(640_000))
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body}})
"""
# Nothing but memory is to decide.
AUTO = ("--workers-per-core", "64", "--max-workers", "64")
OURS = {
    "launcher, gunicorn": ("gunicorn", AUTO),
    "launcher, uvicorn": ("uvicorn", AUTO),
    "launcher, gunicorn --preload": ("gunicorn", (*AUTO, "--preload")),
}
HEADER = "| application and way | workers | killed | not answered | needed |\n|---|---:|---:|---:|---:|"


@dataclass(frozen=True, slots=True)
class Density(Figure):
    """So many workers serve. `asked` and `failed` are questions; needed_bytes: what the group could not give back."""

    killed: int = 0
    asked: int = 0
    failed: int = 0
    needed_bytes: int = 0

    @property
    def kept(self) -> bool:
        """Whether the promise, if one was made, holds."""
        return self.limit is None or (self.killed <= self.limit and self.failed <= self.limit)

    def row(self) -> str:
        """Return one line of the table that docs/benchmarks.md has."""
        missed = "" if self.kept else " MISSED"
        needed = f"{self.needed_bytes / MEBIBYTE:.0f} MiB"
        lost = f"{self.failed} of {self.asked}"
        return f"| {self.case} | {self.value:.0f} | {self.killed}{missed} | {lost} | {needed} |"


@dataclass(slots=True)
class Bench:
    """Starts what is compared, each in a group of its own."""

    spawn: Spawner
    folder: Path
    seconds: float

    def figures(self, application: str) -> Iterator[Density]:
        """Try every way of an application."""
        (self.folder / "main.py").write_text(APP.format(held=HELD[application]), encoding="utf-8")
        for name, (server, words) in OURS.items():
            with memory_group(LIMIT_BYTES) as group:
                pool = start_pool(self.spawn.launch, self.folder, server, *words, workers=None, before=group.inside)
                yield self._figure(f"{application}: {name}", pool, group, 0)
        resident = self._resident_bytes()
        by_cpus, by_rss = 2 * len(os.sched_getaffinity(0)) + 1, LIMIT_BYTES // resident
        for name, workers, words in (
            (f"2 x CPUs + 1 = {by_cpus}", by_cpus, ()),
            (f"limit / RSS of {resident / MEBIBYTE:.0f} MiB = {by_rss}", by_rss, ()),
            (f"limit / RSS = {by_rss}, --preload", by_rss, ("--preload",)),
        ):
            with memory_group(LIMIT_BYTES) as group:
                pool = start_bare(self.spawn, self.folder, "gunicorn", *words, workers=workers, before=group.inside)
                yield self._figure(f"{application}: {name}", pool, group, None)

    def _figure(self, case: str, pool: Pool, group: MemoryGroup, limit: float | None) -> Density:
        """Ask for a while, end it, and say what was seen."""
        try:
            settled(pool)
            asked, failed = self._ask(pool)
            workers, needed, killed = len(serving(pool)), group.needed_bytes, group.oom_kills
        finally:
            end(pool, group)
        return Density(case, workers, limit, "", killed=killed, asked=asked, failed=failed, needed_bytes=needed)

    def _ask(self, pool: Pool) -> tuple[int, int]:
        """Return how many questions were asked, and how many of them were not answered."""
        asked = failed = 0
        until_s = time.monotonic() + self.seconds
        while time.monotonic() < until_s:
            asked += 1
            failed += pool.ask() is None
            time.sleep(PAUSE_S)
        return asked, failed

    def _resident_bytes(self) -> int:
        """Return what one worker of the bare server has resident after some requests."""
        with memory_group(LIMIT_BYTES) as group:
            pool = start_bare(self.spawn, self.folder, "gunicorn", workers=1, before=group.inside)
            until(pool.ask, "an answer", BOOT_S)
            for _ in range(50):
                pool.ask()
            resident = max(psutil.Process(pid).memory_info().rss for pid in pool.workers())
            end(pool, group)
        return int(resident)


def serving(pool: Pool) -> list[int]:
    """Return the workers that live and have imported the application."""
    living = pool.workers()
    if pool.launched.events:  # the launcher's: one that imports for others to be forked is no worker
        ready = {event["pid"] for event in pool.named("worker_ready")}
        return [pid for pid in living if pid in ready]
    return [pid for pid in living if psutil.pid_exists(pid) and psutil.Process(pid).memory_info().rss > HELD_BYTES]


def settled(pool: Pool) -> int:
    """Return how many serve, as soon as that has been the same for a while, or nobody wants to wait any longer."""
    deadline, since, before = time.monotonic() + BOOT_S, time.monotonic(), 0
    while time.monotonic() < min(deadline, since + STILL_S) or (not before and time.monotonic() < deadline):
        if (now := len(serving(pool))) != before:
            since, before = time.monotonic(), now
        time.sleep(0.1)
    return before


def end(pool: Pool, group: MemoryGroup) -> None:
    """Kill all that is in the group."""
    while pids := group.pids:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    pool.launched.popen.wait()


def applications() -> list[str]:
    """Return those that can be imported here."""
    return [name for name in HELD if name != "numpy" or importlib.util.find_spec("numpy") is not None]


def main() -> int:
    """Print one row a way; return the exit code."""
    parser = argparse.ArgumentParser(description="how many workers serve in 1 GiB")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=applications(), default=applications())
    options = parser.parse_args()
    print(f"{machine()}; a group of {LIMIT_BYTES / MEBIBYTE:.0f} MiB; asked for {options.seconds:.0f} s\n\n{HEADER}")
    figures: list[Density] = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Spawner(Path(name) / "processes"), Path(name) / "project", options.seconds)
        bench.folder.mkdir()
        try:
            for application in options.only:
                for figure in bench.figures(application):
                    print(figure.row(), flush=True)
                    figures.append(figure)
        except pytest.skip.Exception as reason:
            sys.exit(f"error: {reason}: it needs root, and a memory controller")
        finally:
            bench.spawn.end()
    return finish(figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
