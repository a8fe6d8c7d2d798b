"""Does a real monitor give a real parser the truth, at any moment, to any number of clients?"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from launcher.inflight import watched
from launcher.scoreboard import Board, Stage
from support.monitor import ANSWERED_S, Handmade, Monitored, handmade, private_bytes, start
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.spawning import Spawner

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
HTTP = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/"}

# In place of prometheus_client: says that it has begun, and becomes the real one when it is told to.
SLOW = """
import pathlib, sys, time
here = pathlib.Path(__file__).parent
(here / "begun").touch()
while not (here / "go").exists():
    time.sleep(0.01)
sys.path.remove(str(here))
del sys.modules["prometheus_client"]
import prometheus_client
"""
MISSING = 'raise ModuleNotFoundError("No module named prometheus_client", name="prometheus_client")'
BROKEN = 'raise RuntimeError("the package is broken")'


@dataclass
class Package:
    """A folder before all others on the monitor's path."""

    folder: Path

    @property
    def has_begun(self) -> bool:
        """Whether a child has come to import it."""
        return (self.folder / "begun").exists()

    def let_go(self) -> None:
        """Let it become the real one."""
        (self.folder / "go").touch()


@dataclass
class Worker:
    """A forked process that answers requests as fast as it can until it is told to end."""

    pid: int

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, however busy it is, and reap it."""
        os.kill(self.pid, number)
        os.waitpid(self.pid, 0)


def forked(board: Board, index: int, number: int) -> Worker:
    """Start a worker in a slot, as the arbiter does."""
    slot = board.slot(index)
    slot.clear(generation=1, number=number)
    if not (pid := os.fork()):
        try:
            signal.alarm(120)
            slot.pid, slot.stage = os.getpid(), Stage.READY
            asyncio.run(_answers(board, index))
        finally:
            os._exit(0)
    return Worker(pid)


async def _answers(board: Board, index: int) -> None:
    slot = board.slot(index)

    async def app(*_: Any) -> None:
        await asyncio.sleep(0.002)

    async def never(*_: Any) -> Any: ...

    call = watched(app, slot)
    while True:
        await asyncio.gather(*(call(HTTP, never, never) for _ in range(5)))
        slot.beat(0.001)
        slot.publish()


@contextmanager
def monitoring(spawn: Spawner, made: Handmade, package: str = "") -> Iterator[tuple[Monitored, Package]]:
    """Run a monitor, with this in place of prometheus_client if there is something."""
    folder = made.path.parent / "instead"
    folder.mkdir(exist_ok=True)
    if package:
        (folder / "prometheus_client.py").write_text(package, encoding="utf-8")
    path = f"PYTHONPATH={folder if package else ''}"
    running = start(spawn, made, ("env", path, sys.executable, "-P", "-m", "launcher.monitor"))
    try:
        yield running, Package(folder)
    finally:
        running.process.popen.kill()
        running.process.wait()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Handmade]:
    """Return what a monitor needs; metrics are asked for over TCP."""
    everything = handmade(tmp_path, metrics=True, version="1.2.3")
    yield everything
    everything.close()


def values(text: str) -> dict[str, float]:
    """Return the samples of either format by name and labels."""
    parse = parse_openmetrics if text.endswith("# EOF\n") else parse_text
    samples = [sample for family in parse(text) for sample in family.samples]
    return {name(sample.name, **sample.labels): sample.value for sample in samples}


def name(metric: str, **labels: str) -> str:
    """Return how a sample is called here."""
    return metric + json.dumps(labels, sort_keys=True) if labels else metric


def fresh(monitored: Monitored) -> dict[str, float]:
    """Return the samples of an answer that was made for us: not that of a second ago."""
    time.sleep(1.01)  # an answer is given again for a second
    return values(monitored.get("/metrics").body)


def children(pid: int) -> list[psutil.Process]:
    """Return those that have not ended."""
    return [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]


def clients(pid: int) -> list[Any]:
    """Return its TCP connections."""
    return [one for one in psutil.Process(pid).net_connections("tcp") if one.status != psutil.CONN_LISTEN]


def test_both_formats_are_read_by_their_parsers(spawn: Spawner, made: Handmade) -> None:
    """Each format by Accept, of its type, and both say the same."""
    with monitoring(spawn, made) as (monitored, _):
        monitored.serving(workers=2)[1].beat(0.25, 7)
        monitored.server.send({"event": "launcher.worker_died", "verdict": "oom"})
        monitored.server.send({"event": "launcher.step_done", "step": 'mig"rate\n', "seconds": 1.5})
        monitored.server.send({"event": "launcher.lock_acquired", "waited_s": 2.5})
        until(lambda: monitored.json("/status")["deaths"], "the events to be heard")
        text, openmetrics = monitored.get("/metrics"), monitored.get("/metrics", accept=OPENMETRICS)
    seen = values(text.body)

    assert [
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    ] == [got.headers["Content-Type"] for got in (text, openmetrics)]
    assert seen == values(openmetrics.body)
    assert 2 == seen["launcher_workers_ready"] == seen["launcher_workers_started_total"]
    assert 7 == seen["launcher_requests_total"]
    assert (
        0.25 == seen["launcher_event_loop_lag_max_seconds"] == seen[name("launcher_event_loop_lag_seconds", slot="1")]
    )
    assert 1 == seen[name("launcher_worker_deaths_total", verdict="oom")]
    assert 0 == seen[name("launcher_worker_deaths_total", verdict="hang")]
    assert (1.5, 2.5) == (
        seen[name("launcher_step_duration_seconds", step='mig"rate\n')],
        seen["launcher_lock_wait_seconds"],
    )
    assert 1 << 29 == seen["launcher_memory_budget_bytes"] == seen["launcher_memory_headroom_bytes"]
    assert [1] == [value for key, value in seen.items() if key.startswith("launcher_build_info") and "1.2.3" in key]


def test_counters_only_grow(spawn: Spawner, made: Handmade) -> None:
    """While requests fly, workers are killed and replaced, and so is the monitor, no counter goes back."""
    seen: list[dict[str, float]] = []
    with monitoring(spawn, made) as (monitored, _):
        monitored.serving(workers=0)
        workers = [forked(made.board, index, index + 1) for index in (0, 1)]
        until(lambda: made.board.tallied().requests > 100, "requests")
        seen.append(fresh(monitored))
        workers[0].end()
        made.board.slot(0).free()
        seen.append(fresh(monitored))
        workers[0] = forked(made.board, 0, 3)
        monitored.server.send({"event": "launcher.worker_died", "verdict": "killed"})
        monitored.server.send({"event": "launcher.pool_reloaded"})
        seen.append(fresh(monitored))
    with monitoring(spawn, replace(made)) as (monitored, _):
        seen.append(fresh(monitored))
        for worker in workers:
            worker.end()
        answered = made.board.tallied()
        seen.append(fresh(monitored))
    counters = [key for key in seen[0] if "_total" in key or "_bucket" in key or "_count" in key]

    assert len(counters) > 20
    for before, after in pairwise(seen):
        assert [] == [key for key in counters if after[key] < before[key]]
    assert seen[0]["launcher_requests_total"] < seen[3]["launcher_requests_total"] < seen[4]["launcher_requests_total"]
    assert answered.requests == seen[4]["launcher_requests_total"]
    assert answered.requests == seen[4]["launcher_request_duration_seconds_count"]
    assert (1, 1, 3) == tuple(
        seen[4][key]
        for key in (
            name("launcher_worker_deaths_total", verdict="killed"),
            "launcher_reloads_total",
            "launcher_workers_started_total",
        )
    )
    assert [0, 0, 0, 1, 1] == [one["launcher_monitor_restarts_total"] for one in seen]


def test_twenty_scrapes_at_once(spawn: Spawner, made: Handmade) -> None:
    """They share the answer of one child, each in the format it wants; probes are answered meanwhile."""
    with monitoring(spawn, made, SLOW) as (monitored, package), ThreadPoolExecutor(20) as pool:
        monitored.serving()
        scrapes = [
            pool.submit(monitored.get, "/metrics", accept=OPENMETRICS if index % 2 else "*/*") for index in range(20)
        ]
        until(lambda: package.has_begun, "a child")
        probes = [monitored.get("/readyz") for _ in range(20)]
        working = children(monitored.pid)
        package.let_go()
        answers = [scrape.result() for scrape in scrapes]
        until(lambda: not psutil.Process(monitored.pid).children(), "the child to be reaped")

    assert 1 == len(working)
    assert {200} == {answer.status for answer in (*probes, *answers)}
    assert max(probe.took_s for probe in probes) < ANSWERED_S
    assert 2 == len({answer.body for answer in answers})
    assert 1 == len({json.dumps(values(answer.body)) for answer in answers})


def test_a_client_that_leaves(spawn: Spawner, made: Handmade) -> None:
    """Who leaves while the answer is being made leaves nothing behind; the next one is answered."""
    with monitoring(spawn, made, SLOW) as (monitored, package):
        monitored.serving()
        leaving = monitored.client()
        leaving.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: package.has_begun, "a child")
        leaving.close()
        before = monitored.get("/livez").status
        package.let_go()
        until(lambda: not psutil.Process(monitored.pid).children(), "the child to be reaped")
        after = monitored.get("/metrics").status
        until(lambda: not clients(monitored.pid), "both connections to be closed")

    assert (200, 200) == (before, after)
    assert "" == monitored.process.stderr


def test_a_child_has_nothing_of_the_monitors(spawn: Spawner, made: Handmade) -> None:
    """While it works it has no socket and one pipe, TERM ends it, and who waits gets 503."""
    with monitoring(spawn, made, SLOW) as (monitored, package), ThreadPoolExecutor(1) as pool:
        monitored.serving()
        scrape = pool.submit(monitored.get, "/metrics")
        until(lambda: package.has_begun, "a child")
        (child,) = children(monitored.pid)
        connections, fds = child.net_connections("all"), child.num_fds()
        child.terminate()
        answer = scrape.result()

    assert [] == connections
    assert fds <= 4
    assert (503, "whoever rendered has ended before the answer\n") == (answer.status, answer.body)


def test_a_child_that_takes_too_long(spawn: Spawner, made: Handmade) -> None:
    """After five seconds it is killed and who waits gets 503; the monitor goes on as if nothing had been."""
    with monitoring(spawn, made, SLOW) as (monitored, package):
        monitored.serving()
        answer = monitored.get("/metrics", timeout_s=30)
        until(lambda: not psutil.Process(monitored.pid).children(), "the child to be reaped")
        package.let_go()
        until(lambda: monitored.get("/metrics").status == 200, "an answer")
        again = monitored.get("/metrics")

    assert (503, "metrics were not rendered within 5 s\n") == (answer.status, answer.body)
    assert 4.5 < answer.took_s < 15
    assert "launcher_workers" in again.body


def test_a_child_ends_with_the_monitor(spawn: Spawner, made: Handmade) -> None:
    """No child is left behind when the monitor is killed."""
    with monitoring(spawn, made, SLOW) as (monitored, package), ThreadPoolExecutor(1) as pool:
        monitored.serving()
        scrape = pool.submit(monitored.get, "/metrics")
        until(lambda: package.has_begun, "a child")
        (child,) = children(monitored.pid)
        monitored.process.popen.kill()
        monitored.process.wait()
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")

    assert scrape.exception() is not None


@pytest.mark.parametrize(
    ("package", "status", "told", "faults"),
    [
        (MISSING, 501, "pip install asgi-launcher[metrics]", 0),
        (BROKEN, 500, "the log of the launcher says why", 1),
    ],
    ids=["missing", "broken"],
)
def test_without_the_package(spawn: Spawner, made: Handmade, package: str, status: int, told: str, faults: int) -> None:
    """Without prometheus_client the answer says what to install; one that is broken is a fault that is said."""
    with monitoring(spawn, made, package) as (monitored, _):
        answer = monitored.get("/metrics")
        probe = monitored.get("/livez").status
        said = [event for event in monitored.process.events if event["event"] == "launcher.monitor_fault"]

    assert (status, 200) == (answer.status, probe)
    assert told in answer.body
    assert faults == len(said)
    assert all("the package is broken" in event["exception"] for event in said)


def test_the_monitor_stays_small(spawn: Spawner, made: Handmade) -> None:
    """What rendering needs is never the monitor's: after scrapes it has no more than 12 MB of its own."""
    with monitoring(spawn, made) as (monitored, _):
        monitored.serving(workers=4)
        for _ in range(3):
            fresh(monitored)
        used_bytes = private_bytes(monitored.pid)

    assert used_bytes < 12_000_000


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus' own checker is not installed")
def test_promtool_finds_nothing(spawn: Spawner, made: Handmade) -> None:
    """Prometheus' own checker of names, units and help has nothing to say."""
    with monitoring(spawn, made) as (monitored, _):
        monitored.serving()
        text = monitored.get("/metrics").body
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)

    assert (0, "") == (checked.returncode, checked.stdout + checked.stderr)
