"""What does a fleet cost that starts at once, on a real PostgreSQL server?

    python tests/benchmarks/bench_fleet.py [--size 50] [--pairs 5] [--rounds 3] [--json FILE] [--only CASE ...]

* start: a fleet at the head of its migrations, against as many bare servers.
* wait: one migrates for 2 s, all others wait: how soon are they past the lock, what do they ask meanwhile?
* crowd: the server has room for 20 connections. Does everybody get through, the migration included?

Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import math
import re
import socket
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.fleet_project import Project, Started, temporary_project
from benchmarks.pairs import measure_pairs
from benchmarks.project import BIN
from benchmarks.report import FIGURE_HEADER, HEADER, Figure, Outcome, finish, machine
from support.own_postgresql import OwnPostgreSQL, own_postgresql
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIGRATION_S = 2.0
SAMPLE_S = 0.05
CROWDED = 20  # max_connections
PAST_S, QUERIES, CONNECTIONS, RATIO = 0.5, 4.0, 1, 2.0  # the limits, per waiter
DEADLINE_S = 300

GUNICORN = "exec gunicorn -k uvicorn_worker.UvicornWorker -w 1 -b 127.0.0.1:$PORT --no-control-socket orders:app"
UVICORN = "exec uvicorn --host 127.0.0.1 --port $PORT smallest:app"
RUN = (str(BIN / "launcher"), "run", "--host", "127.0.0.1", "--workers", "1", "--yes")
# To the exec and no further: fifty servers that start would be measured too.
TO_THE_EXEC = (
    *RUN,
    "smallest:app",
    "--port",
    "0",
    "--log-format",
    "json",
    "--server",
    "nothing",
    "--plugins",
    "nothing",
)


@dataclass(frozen=True, slots=True)
class Start:
    """What is compared. `limit`: the highest allowed ratio; None where nothing was promised."""

    name: str
    launcher: tuple[str, ...]
    bare: tuple[str, ...]
    limit: float | None


STARTS = (
    Start("FastAPI, SQLAlchemy, gunicorn", (*RUN, "orders:app"), ("bash", "-c", GUNICORN), RATIO),
    # An application that opens no database, beside a database that is migrated: nobody's, and the worst there can be.
    Start(
        "the smallest application, uvicorn",
        (*RUN, "smallest:app", "--server", "uvicorn"),
        ("bash", "-c", UVICORN),
        None,
    ),
)

LOGGED = ("log_statement=all", "log_line_prefix=%n|%a|", "logging_collector=off")
RECORDED = re.compile(
    r'^([\d.]+)\|asgi-launcher lock [^|]*\|LOG:  execute .*UPDATE "asgi_launcher_ledger"', re.MULTILINE
)
STATEMENT = re.compile(r"^([\d.]+)\|asgi-launcher lock \S+ (\d+)\|LOG:  (?:statement|execute) ", re.MULTILINE)


def free_ports(count: int) -> list[int]:
    """Return TCP ports on which nobody listens now, none twice."""
    with contextlib.ExitStack() as open_until_all_are_known:
        sockets = [open_until_all_are_known.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def started_at_head(project: Project, options: argparse.Namespace) -> Iterator[Outcome]:
    """Compare launchers with nothing to do and the servers that they become, bare."""
    with own_postgresql("max_connections=200") as server:
        url = server.url("head", "psycopg")
        project.migrate(url)
        for start in STARTS:

            def seconds(argv: tuple[str, ...]) -> float:
                return project.seconds_until_served(argv, url, free_ports(options.size))

            launchers, bare = partial(seconds, start.launcher), partial(seconds, start.bare)
            measured = measure_pairs(launchers, bare, options.pairs)
            yield Outcome(f"{options.size} at head: {start.name}", measured, measured.ratio, start.limit, "x")


@dataclass(slots=True)
class Round:
    """What was seen while one migrated and the others waited. Times in seconds since the epoch."""

    past_s: list[float] = field(default_factory=list)  # from the end of the migration, one for each who waited
    recorded_s: float = 0.0  # from the end of the migration until the ledger said so
    rates: list[float] = field(default_factory=list)  # questions a second, one for each who waited
    sessions: int = 0  # the most at once of one launcher
    all_sessions: int = 0  # the most at once of all, the migration's own left out


def waited(project: Project, server: OwnPostgreSQL, options: argparse.Namespace) -> Round:
    """Let one migrate while all others wait; RuntimeError when one fails or migrates too."""
    url = server.url("waiting", "psycopg")
    project.gate.unlink(missing_ok=True)
    project.journal.unlink(missing_ok=True)
    variables = {"BENCH_GATE": str(project.gate), "BENCH_MIGRATION_S": str(MIGRATION_S)}
    seen = Round()
    environments = [project.environment(url, variables)] * options.size
    with project.fleet(TO_THE_EXEC, environments) as fleet, sampling(server, seen):
        until(lambda: sum(each.has("launcher.lock_busy") for each in fleet) == options.size - 1, "waiters", DEADLINE_S)
        opened = time.time()
        project.gate.touch()
        until(lambda: all(each.process.poll() is not None for each in fleet), "all to be past the lock", DEADLINE_S)
        ended = migrated_once(project, fleet)
        log = (server.folder / "log").read_text(errors="replace")
        seen.recorded_s = float(RECORDED.findall(log)[-1]) - ended
        waiters = [each for each in fleet if not each.has("launcher.step_done")]
        seen.past_s = [moment(each, "launcher.handed_over") - ended for each in waiters]
        asked = questions(log, opened, ended)
        seen.rates = [asked[each.process.pid] for each in waiters]
    return seen


def migrated_once(project: Project, fleet: Sequence[Started]) -> float:
    """Return when the migration had done its work. RuntimeError unless all ended well and one has migrated."""
    bad = next((each for each in fleet if each.process.returncode != 0), None)
    if bad is not None:
        raise RuntimeError(f"exit code {bad.process.returncode}:\n{bad.output.read_text(errors='replace')}")
    times = project.journal.read_text().splitlines()
    if len(times) != 1:
        raise RuntimeError(f"migrated {len(times)} times")
    return float(times[0])


def moment(started: Started, event: str) -> float:
    """Return when it has said this for the last time."""
    times = [record["timestamp"] for record in started.events if record["event"] == event]
    return dt.datetime.fromisoformat(times[-1]).timestamp()


def questions(log: str, begin: float, end: float) -> dict[int, float]:
    """Return each lock session's statements a second between two moments, by the launcher's pid, from the log."""
    times: defaultdict[int, list[float]] = defaultdict(list)
    for at, pid in STATEMENT.findall(log):
        if begin <= float(at) <= end:
            times[int(pid)].append(float(at))
    return defaultdict(float, {pid: (len(seen) - 1) / (seen[-1] - seen[0]) for pid, seen in times.items() if seen[1:]})


@contextlib.contextmanager
def sampling(server: OwnPostgreSQL, seen: Round) -> Iterator[None]:
    """Look at the server's sessions all the time, over a connection of the superuser."""
    over = threading.Event()

    def sample() -> None:
        sql = b"SELECT application_name FROM pg_stat_activity WHERE datname = 'waiting' AND pid <> pg_backend_pid()"
        with server.connect() as connection:
            while not over.wait(SAMPLE_S):
                names = [row[0] for row in connection.execute(sql).fetchall()]
                own = [name for name in names if not name.startswith("asgi-launcher step")]
                of_one = Counter(name for name in own if name.startswith("asgi-launcher lock"))
                seen.sessions = max(seen.sessions, *of_one.values(), 0, 0)
                seen.all_sessions = max(seen.all_sessions, len(own))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def waiting(project: Project, options: argparse.Namespace) -> Iterator[Figure]:
    """Measure rounds of waiting."""
    with own_postgresql("max_connections=200", *LOGGED) as server:
        rounds = [waited(project, server, options) for _ in range(options.rounds)]
    past = sorted(value for each in rounds for value in each.past_s)
    rates = [rate for each in rounds for rate in each.rates]
    p99, half = past[math.ceil(0.99 * len(past)) - 1], past[len(past) // 2]
    recorded = ", ".join(f"{each.recorded_s:.2f}" for each in rounds)
    spread = f"median {half:.2f}, last {past[-1]:.2f}; the end was recorded after {recorded}"
    yield Figure("past the lock after the migration's end, p99", p99, PAST_S, "s", spread)
    yield Figure("questions a second, the busiest waiter", max(rates), QUERIES, "", f"mean {mean(rates):.2f}")
    yield Figure("connections of one launcher, at most", max(each.sessions for each in rounds), CONNECTIONS, "")
    most = max(each.all_sessions for each in rounds)
    beside = "the migration's own left out; its launcher has a second one for its last questions"
    yield Figure(f"connections of {options.size} launchers, at most", most, options.size + 1, "", beside)


def crowd(project: Project, options: argparse.Namespace) -> Iterator[Figure]:
    """Let a fleet start that is larger than the server has room for; an ordinary role, so the reserve is not ours."""
    project.journal.unlink(missing_ok=True)
    with own_postgresql(f"max_connections={CROWDED}") as server:
        server.url("crowd")
        with server.connect() as connection:
            connection.execute("CREATE ROLE ordinary LOGIN")
            connection.execute("ALTER DATABASE crowd OWNER TO ordinary")
        url = f"postgresql+psycopg://ordinary@127.0.0.1:{server.port}/crowd"
        variables = project.environment(url, {"BENCH_MIGRATION_S": str(MIGRATION_S)})
        before = time.perf_counter()
        with project.fleet(TO_THE_EXEC, [variables] * options.size) as fleet:
            until(lambda: all(each.process.poll() is not None for each in fleet), "all to get through", DEADLINE_S)
            taken_s = time.perf_counter() - before
            failed = [each for each in fleet if each.process.returncode != 0]
            for each in failed[:1]:
                print(each.output.read_text(errors="replace"), file=sys.stderr)
            if not failed:
                migrated_once(project, fleet)
    yield Figure(
        f"{options.size} launchers, {CROWDED} connections: failed", len(failed), 0, "", f"{taken_s:.1f} s in all"
    )


def main() -> int:
    """Print one row a case as soon as it is measured; return the exit code."""
    parser = argparse.ArgumentParser(description="fleets that start at once, on PostgreSQL")
    parser.add_argument("--size", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=["start", "wait", "crowd"], default=["start", "wait", "crowd"])
    options = parser.parse_args()
    outcomes: list[Outcome | Figure] = []
    with temporary_project() as project:
        print(f"{machine()}; fleets of {options.size}, {options.pairs} pairs, {options.rounds} rounds", flush=True)
        if "start" in options.only:
            print(f"\n{HEADER}")
            outcomes += shown(started_at_head(project, options))
        if set(options.only) - {"start"}:
            print(f"\n{FIGURE_HEADER}")
        for name, measure in (("wait", waiting), ("crowd", crowd)):
            if name in options.only:
                outcomes += shown(measure(project, options))
    return finish(outcomes, options.json)


def shown(outcomes: Iterator[Outcome] | Iterator[Figure]) -> Iterator[Outcome | Figure]:
    """Print each as soon as it is known."""
    for outcome in outcomes:
        print(outcome.row(), flush=True)
        yield outcome


if __name__ == "__main__":
    sys.exit(main())
