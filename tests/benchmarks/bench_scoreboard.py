"""What does a request pay for being seen on the scoreboard?

    python tests/benchmarks/bench_scoreboard.py [--rounds 25] [--requests 20000] [--json FILE]

An application that does nothing is called through `watched` and without it, in turns, without a server: microseconds a
call, the medians of all rounds. Beside it, without a limit, what is done once a second. Exit code 1 when a limit is
missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.pairs import Pairs, measure_pairs
from benchmarks.report import FIGURE_HEADER, Figure, finish, machine
from launcher.inflight import watched
from launcher.scoreboard import Board, Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.inflight import App, Receive, Scope, Send

LIMIT_US = 1.5
SCOPES: dict[str, Scope] = {
    "http": {"type": "http", "method": "GET", "path": "/orders/42", "raw_path": b"/orders/42", "headers": []},
    "http without raw_path": {"type": "http", "method": "GET", "path": "/orders/42", "headers": []},
    "http by status": {"type": "http", "method": "GET", "path": "/orders/42", "raw_path": b"/orders/42", "headers": []},
    "websocket": {"type": "websocket", "path": "/ws", "raw_path": b"/ws", "headers": []},
}


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Do nothing."""


def seconds(app: App, scope: Scope, requests: int) -> float:
    """Return the seconds of so many calls, one after the other."""

    async def call() -> float:
        receive: Any = None
        send: Any = None
        before = time.perf_counter()
        for _ in range(requests):
            await app(scope, receive, send)
        return time.perf_counter() - before

    return asyncio.run(call())


def request(kind: str, slot: Slot, rounds: int, requests: int) -> Figure:
    """Measure what a request of this kind pays. Promised is what every usual request pays."""
    app, scope = watched(bare, slot, by_status="by status" in kind), SCOPES[kind]
    pairs: Pairs = measure_pairs(lambda: seconds(app, scope, requests), lambda: seconds(bare, scope, requests), rounds)
    with_us, bare_us = (median(times) / requests * 1e6 for times in (pairs.subject_s, pairs.control_s))
    limit_us = LIMIT_US if kind == "http" else None
    return Figure(kind, with_us - bare_us, limit_us, "us", f"bare {bare_us:.3f}, with board {with_us:.3f}")


def operation(name: str, act: Callable[[], object], rounds: int) -> Figure:
    """Measure what a call of `act` takes."""
    times = []
    for _ in range(rounds):
        before = time.perf_counter()
        for _ in range(100):
            act()
        times.append((time.perf_counter() - before) / 100 * 1e6)
    return Figure(name, median(times), None, "us", f"{min(times):.3f}-{max(times):.3f}")


def main() -> int:
    """Print one row a case; return the exit code."""
    parser = argparse.ArgumentParser(description="time that a request pays for the scoreboard")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    slot = Board.create().slot(0)
    slot.clear(generation=1, number=1)
    print(f"{machine()}; {options.rounds} rounds of {options.requests} requests\n\n{FIGURE_HEADER}")
    figures = [request(kind, slot, options.rounds, options.requests) for kind in SCOPES]
    figures += [
        operation("beat", lambda: slot.beat(0.0), options.rounds),
        operation(
            "keep_log", lambda: slot.keep_log("a line of the log, of the usual length, more or less"), options.rounds
        ),
        operation("read", slot.read, options.rounds),
    ]
    for figure in figures:
        print(figure.row())
    return finish(figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
