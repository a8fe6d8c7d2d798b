"""What does the monitor cost, and how fast does it answer while the workers take every CPU?

    python tests/benchmarks/bench_monitor.py [--seconds 20] [--probes 2000] [--json FILE]

A monitor of its own, without launcher and server: private memory after everything was asked once, the time from its
start to its first answer, CPU while nobody asks, and probes, each over a new connection, while two processes (as many
as this machine has CPUs, at least two) do nothing but compute. Exit code 1 when a limit is missed. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import FIGURE_HEADER, Figure, finish, machine
from support.monitor import Handmade, Monitored, cpu_s, handmade, private_bytes, start
from support.spawning import Spawner

MEMORY_MB, IDLE_PERCENT, PROBE_MS = 12.0, 0.2, 15.0
STARTS = 7
BURN = "while True: pass"


def memory(monitored: Monitored) -> Figure:
    """Ask everything once, then look at what is private."""
    for target in ("/livez", "/startupz?verbose", "/readyz", "/status", "/metrics", "/nothing"):
        monitored.local(target)
    return Figure("private memory", private_bytes(monitored.pid) / 1e6, MEMORY_MB, "MB")


def first_answer(spawn: Spawner, made: Handmade) -> Figure:
    """Start it several times, from the start of the process to its answer; the connection waits for it meanwhile."""
    times = []
    for _ in range(STARTS):
        before = time.perf_counter()
        running = start(spawn, made)
        times.append((time.perf_counter() - before) * 1000)
        end(running)
    return Figure("start to first answer", median(times), None, "ms", f"{min(times):.0f}-{max(times):.0f}")


def idle(monitored: Monitored, seconds: float) -> Figure:
    """Do not ask, and look at the CPU time. The kernel counts it in ticks of 10 ms."""
    before = cpu_s(monitored.pid)
    time.sleep(seconds)
    return Figure("CPU while idle", (cpu_s(monitored.pid) - before) / seconds * 100, IDLE_PERCENT, "%")


def probes(monitored: Monitored, number: int, burners: int) -> Figure:
    """Probe 100 times a second with so many processes computing."""
    with ExitStack() as stack:
        for _ in range(burners):
            burner = subprocess.Popen([sys.executable, "-c", BURN])
            stack.callback(burner.wait)
            stack.callback(burner.kill)
        time.sleep(0.5)
        times = []
        for _ in range(number):
            times.append(monitored.get("/readyz").took_s * 1000)
            time.sleep(0.01)
    p99 = quantiles(times, n=100)[98]
    limit = PROBE_MS if burners else None
    return Figure(
        f"probe, p99, {burners} busy processes", p99, limit, "ms", f"median {median(times):.2f}, most {max(times):.2f}"
    )


def end(monitored: Monitored) -> None:
    """End the process; what it was made of can be used again."""
    monitored.process.popen.kill()
    monitored.process.popen.wait()


def main() -> int:
    """Print one row a figure; return the exit code."""
    parser = argparse.ArgumentParser(description="cost and speed of the monitor")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--probes", type=int, default=2000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(f"{machine()}\n\n{FIGURE_HEADER}")
    with tempfile.TemporaryDirectory() as folder:
        spawn, made = Spawner(Path(folder) / "processes"), handmade(Path(folder))
        figures = [first_answer(spawn, made)]
        running = start(spawn, made)
        try:
            made.serving(workers=2)
            figures += [
                memory(running),
                idle(running, options.seconds),
                probes(running, options.probes, 0),
                probes(running, options.probes, max(2, os.cpu_count() or 2)),
            ]
        finally:
            end(running)
            spawn.end()
    for figure in figures:
        print(figure.row())
    return finish(figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
