"""How long from the start to the first 200, with a database that is already at the head of its migrations?

    python tests/benchmarks/bench_start.py [--pairs 9] [--migrations 60] [--json FILE] [--only CASE ...]

The control is the entrypoint script that the launcher replaces, fairly written: an exec, no control socket, the same
number of workers. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.pairs import measure_pairs
from benchmarks.project import BIN, URL, environment, make_project
from benchmarks.report import HEADER, Outcome, finish, machine

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKERS = 2
POLL_S = 0.004
DEADLINE_S = 60
SERVER = f"gunicorn -k uvicorn_worker.UvicornWorker -w {WORKERS} -b 127.0.0.1:$PORT --no-control-socket app.main:app"
SCRIPT = f"#!/bin/bash\nset -e\nalembic upgrade head && exec {SERVER}\n"
LAUNCHER = (str(BIN / "launcher"), "run", "app.main:app", "--host", "127.0.0.1", "--workers", str(WORKERS), "--yes")


@dataclass(frozen=True, slots=True)
class Case:
    """One way to start. `limit`: the highest allowed ratio to the script; `forgets`: nothing is kept between starts."""

    name: str
    argv: tuple[str, ...]
    limit: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    forgets: bool = False


CASES = {
    "noise": Case("the script against itself", ("bash", "entrypoint.sh")),
    "known": Case("launcher, DATABASE_URL given, nothing kept", LAUNCHER, 0.75, {"DATABASE_URL": URL}, forgets=True),
    "learnt": Case("launcher, URL learnt by an earlier start", LAUNCHER, 0.75),
    "asked": Case("launcher, env.py must be asked", LAUNCHER, 1.15, forgets=True),
    "floor": Case("gunicorn alone, no migrations", ("bash", "-c", f"exec {SERVER}")),
}


class Starter:
    """Starts a case in the project and takes the time."""

    def __init__(self, folder: Path) -> None:
        """Keep the output of the last start under `folder`, which holds the project."""
        self.folder = folder
        self.output = folder.parent / "output.txt"

    def seconds(self, case: Case, env: Mapping[str, str]) -> float:
        """Start it, wait for the first 200, kill its group; return the seconds between. RuntimeError when it fails."""
        if case.forgets:
            shutil.rmtree(self.folder / ".launcher", ignore_errors=True)
        port = free_port()
        # `--port` is not given: both sides take the variable, and pay for reading it.
        changes = {**env, "PORT": str(port)}
        with self.output.open("wb") as output:
            before = time.perf_counter()
            process = subprocess.Popen(
                case.argv,
                cwd=self.folder,
                env=environment(changes),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._wait_ok(process, port, before + DEADLINE_S)
            return time.perf_counter() - before
        finally:
            kill_group(process)

    def _wait_ok(self, process: subprocess.Popen[bytes], port: int, deadline: float) -> None:
        while not answers_ok(port):
            if process.poll() is not None or time.perf_counter() > deadline:
                raise RuntimeError(f"{process.args!r} did not serve:\n{self.output.read_text(errors='replace')}")
            time.sleep(POLL_S)


def answers_ok(port: int) -> bool:
    """Tell whether GET / is answered with 200; a port where nobody listens costs one connect."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill all it started and wait until nothing of it runs: the next start must have the machine for itself."""
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for descendant in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            descendant.kill()  # one that left the group
            while descendant.status() != psutil.STATUS_ZOMBIE:  # whoever adopted it reaps it in his own time
                time.sleep(POLL_S)


def free_port() -> int:
    """Return a TCP port on which nobody listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def run_case(starter: Starter, case: Case, pairs: int) -> Outcome:
    """Measure one case against the script, in the same environment."""
    control = CASES["noise"]
    shutil.rmtree(starter.folder / ".launcher", ignore_errors=True)
    measured = measure_pairs(
        lambda: starter.seconds(case, case.env),
        lambda: starter.seconds(control, case.env),
        pairs,
    )
    return Outcome(case.name, measured, measured.ratio, case.limit, "x")


def main() -> int:
    """Print one row a case as soon as it is measured; return the exit code."""
    parser = argparse.ArgumentParser(description="time from the start to the first 200")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--migrations", type=int, default=60)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="launcher-bench-") as temporary:
        starter = Starter(make_project(Path(temporary) / "project", options.migrations))
        (starter.folder / "entrypoint.sh").write_text(SCRIPT)
        print(f"{machine()}; {options.migrations} migrations, {WORKERS} workers, {options.pairs} pairs\n\n{HEADER}")
        for key in options.only:
            outcomes.append(run_case(starter, CASES[key], options.pairs))
            print(outcomes[-1].row(), flush=True)
    return finish(outcomes, options.json)


if __name__ == "__main__":
    sys.exit(main())
