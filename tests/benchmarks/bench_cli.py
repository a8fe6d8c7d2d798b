"""What do the commands cost that people run all day long?

    python tests/benchmarks/bench_cli.py [--pairs 15] [--json FILE]

They may take 1.5 times a bare `python -c pass` and 60 ms more. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.pairs import measure_pairs
from benchmarks.project import BIN, environment
from benchmarks.report import HEADER, Outcome, finish, machine

BARE = (sys.executable, "-c", "pass")
FACTOR = 1.5
EXTRA_S = 0.060
# `health` and its like join when they exist; a command that answers "no" has an exit code of its own and is no failure.
COMMANDS = {"launcher --version": ((str(BIN / "launcher"), "--version"), {0})}


def seconds(argv: tuple[str, ...], folder: str, accepted: set[int]) -> float:
    """Run a command to its end in an empty folder; return its seconds. RuntimeError when it fails."""
    before = time.perf_counter()
    ended = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, check=False)
    taken_s = time.perf_counter() - before
    if ended.returncode not in accepted:
        raise RuntimeError(f"{argv!r}: exit code {ended.returncode}\n{ended.stderr.decode(errors='replace')}")
    return taken_s


def run_command(name: str, folder: str, pairs: int) -> Outcome:
    """Measure one command against the bare interpreter."""
    argv, accepted = COMMANDS[name]
    measured = measure_pairs(lambda: seconds(argv, folder, accepted), lambda: seconds(BARE, folder, {0}), pairs)
    limit_s = FACTOR * median(measured.control_s) + EXTRA_S
    return Outcome(name, measured, median(measured.subject_s) * 1000, limit_s * 1000, "ms")


def main() -> int:
    """Print one row a command; return the exit code."""
    parser = argparse.ArgumentParser(description="time of the commands that do little")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="launcher-bench-") as folder:
        print(f"{machine()}; {options.pairs} pairs against `python -c pass`\n\n{HEADER}")
        outcomes = [run_command(name, folder, options.pairs) for name in COMMANDS]
    for outcome in outcomes:
        print(outcome.row())
    return finish(outcomes, options.json)


if __name__ == "__main__":
    sys.exit(main())
