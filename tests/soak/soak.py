"""Does a fleet keep its promises for hundreds of rounds of bad luck?

    python tests/soak/soak.py --rounds 200 [--seed N] [--lanes 6]

A line a round, a summary at the end; exit code 1 when a promise was broken. Needs root (network namespaces), PostgreSQL
and iptables. With the same seed the same things happen, at moments that depend on the machine.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.postgresql import running_postgresql
from support.soak import own_lane, play

if TYPE_CHECKING:
    from support.postgresql import PostgreSQL
    from support.soak import Outcome

_PRINTING = threading.Lock()


def main() -> int:
    """Play the rounds in lanes side by side; return 1 when something was not as promised."""
    parser = argparse.ArgumentParser(description="Kill, stop, cut off and restart a fleet, again and again.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="any without it")
    parser.add_argument("--lanes", type=int, default=6, help="rounds at the same time")
    asked = parser.parse_args()
    say(f"seed {asked.seed}, {asked.rounds} rounds in {asked.lanes} lanes")
    begun = time.monotonic()
    with running_postgresql() as witness, ThreadPoolExecutor(asked.lanes) as lanes:
        played = [
            lanes.submit(play_lane, witness, asked.seed, range(number, asked.rounds, asked.lanes))
            for number in range(asked.lanes)
        ]
        outcomes = [outcome for lane in played for outcome in lane.result()]
    return summary(outcomes, asked.rounds, time.monotonic() - begun)


def play_lane(witness: PostgreSQL, seed: int, numbers: range) -> list[Outcome]:
    """Play these rounds one after the other, with a network and a server of their own."""
    outcomes = []
    with tempfile.TemporaryDirectory() as folder, own_lane(witness, Path(folder)) as lane:
        for number in numbers:
            rng = random.Random(f"{seed} {number}")  # noqa: S311 - to be repeated
            outcomes.append(play(lane, rng, f"r{number}"))
            show(number, outcomes[-1])
    return outcomes


def show(number: int, outcome: Outcome) -> None:
    """Print a line about a round; all there is to know when it went wrong."""
    statuses = " ".join(f"{status}x{times}" for status, times in sorted(Counter(outcome.statuses).items())) or "-"
    what = ", ".join(map(str, outcome.disturbances))
    verdict = "ok  " if not outcome.wrong else "FAIL"
    line = f"{verdict} round {number:3} {outcome.seconds:5.1f} s  runs {outcome.runs}  ended {statuses:14} {what}"
    say("\n".join([line, *outcome.wrong]))


def say(text: str) -> None:
    """Print at once, and whole: lanes print at the same time."""
    with _PRINTING:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def summary(outcomes: list[Outcome], asked: int, seconds: float) -> int:
    """Print what came out; return the exit code."""
    kinds = Counter(one.kind for outcome in outcomes for one in outcome.disturbances)
    lengths = sorted(outcome.seconds for outcome in outcomes)
    broken = sum(bool(outcome.wrong) for outcome in outcomes)
    say(f"{len(outcomes)} of {asked} rounds in {seconds:.0f} s: {broken} not as promised")
    say("happened: " + ", ".join(f"{kind} {times}" for kind, times in sorted(kinds.items())))
    if lengths:
        say(f"a round took {lengths[len(lengths) // 2]:.1f} s in the middle, {lengths[-1]:.1f} s at most")
    say(f"runs of the step: {sum(outcome.runs for outcome in outcomes)}")
    return int(bool(broken) or len(outcomes) != asked)


if __name__ == "__main__":
    sys.exit(main())
