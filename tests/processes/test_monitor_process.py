"""Does the monitor's process live as long as its parent, tell the truth, and cost next to nothing?"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from launcher.crossing import PLAN_FD, write_plan
from launcher.scoreboard import BoardState
from support.monitor import Monitored, UnixConnection, cpu_s, handmade, private_bytes, start
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.spawning import Spawner

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux only")

HEAVY = {"asyncio", "structlog", "rich", "psutil", "pluggy", "click", "logging", "msgspec", "ssl"}

PARENT = """
import json, os, subprocess, sys, time
plan_fd, fds = int(sys.argv[1]), [int(fd) for fd in sys.argv[2].split(",")]
from launcher.crossing import PLAN_FD, read_plan, write_plan
plan = write_plan({**read_plan({PLAN_FD: str(plan_fd)}), "parent": os.getpid()})
monitor = subprocess.Popen(
    [sys.executable, "-P", "-m", "launcher.monitor"],
    env={**os.environ, PLAN_FD: str(plan)}, pass_fds=(plan, *fds), start_new_session=True,
)
print(monitor.pid, flush=True)
time.sleep(3600)
"""


@pytest.fixture
def monitored(spawn: Spawner, tmp_path: Path) -> Iterator[Monitored]:
    """Run a monitor whose parent we are."""
    made = handmade(tmp_path)
    running = start(spawn, made)
    yield running
    running.process.popen.kill()  # nothing else ends it
    running.close()


@pytest.fixture
def asking(monitored: Monitored) -> Iterator[Callable[[str, object], http.client.HTTPConnection]]:
    """Return what asks the pool for something over the Unix socket and does not wait for the answer."""
    connections: list[http.client.HTTPConnection] = []

    def ask(target: str, body: object) -> http.client.HTTPConnection:
        connection = UnixConnection(monitored.path, 10)
        connections.append(connection)
        connection.request("POST", target, json.dumps(body))
        return connection

    yield ask
    for connection in connections:
        connection.close()


def test_it_follows_the_launcher(monitored: Monitored) -> None:
    """From the first step to the stop, each probe tells what is the case at that moment."""
    monitored.server.send({"event": "boot", "step": "migrate", "waiting_for": "orders-2", "since": time.monotonic()})
    boot = until(lambda: (status := monitored.json("/status"))["boot"]["step"] and status, "the step")
    booting = [monitored.get(path).status for path in ("/livez", "/startupz", "/readyz")]
    verbose = monitored.local("/startupz?verbose").body
    monitored.serving()
    serving = [monitored.get(path).status for path in ("/livez", "/startupz", "/readyz")]
    monitored.board.state = BoardState.DRAINING
    draining = [monitored.get(path).status for path in ("/livez", "/startupz", "/readyz")]

    assert ("booting", "migrate", "orders-2") == (boot["state"], boot["boot"]["step"], boot["boot"]["waiting_for"])
    assert verbose.startswith("[-]started failed: step migrate, waiting for orders-2, for 0 s\n")
    assert [200, 503, 503] == booting
    assert [200, 200, 200] == serving
    assert [200, 200, 503] == draining


def test_status_has_the_contracts_shape(monitored: Monitored) -> None:
    """Every key of the contract is there, with what the board and the kernel say."""
    (slot,) = monitored.serving(wanted=2)
    slot.requests = 12
    monitored.board.restarts = 3
    status = monitored.json("/status")
    (worker,) = status["workers"]

    assert (os.getpid(), "serving", "uvicorn") == (status["pid"], status["state"], status["server"])
    assert (1, 2, 3) == (status["ready"], status["wanted"], status["restarts"])
    assert (os.getpid(), 0, 1, "ready", 12, []) == tuple(
        worker[key] for key in ("pid", "slot", "generation", "stage", "requests", "in_flight")
    )
    assert worker["private_bytes"] > 1 << 20
    assert {"age_s", "shared_bytes", "loop_lag_s", "cpu_s"} <= worker.keys()
    assert (1 << 30, 1 << 29) == (status["memory"]["limit_bytes"], status["memory"]["budget_bytes"])
    assert monitored.pid == status["monitor"]["pid"]


def test_what_is_asked_is_answered_by_the_pool(
    monitored: Monitored, asking: Callable[[str, object], http.client.HTTPConnection]
) -> None:
    """Asks wait for their outcome without holding up a probe, and each gets its own."""
    monitored.serving()
    first, second = asking("/scale", {"workers": 3}), asking("/reload", {})
    asks = until(monitored.server.receive, "the first ask")
    if len(asks) == 1:
        asks += until(monitored.server.receive, "the second ask")
    probe = monitored.get("/livez")
    for ask in sorted(asks, key=lambda ask: str(ask["ask"])):
        monitored.server.send({"answer": ask["id"], "code": 3 if ask["ask"] == "reload" else 0, "because": ask["ask"]})
    outcomes = [json.loads(connection.getresponse().read()) for connection in (first, second)]

    assert 200 == probe.status
    assert {"scale", "reload"} == {ask["ask"] for ask in asks}
    assert [{"code": 0, "because": "scale"}, {"code": 3, "because": "reload"}] == outcomes


def test_it_outlives_the_servers_end_of_the_channel(
    monitored: Monitored, asking: Callable[[str, object], http.client.HTTPConnection]
) -> None:
    """When nobody is at the other end any more, who waits is told, and the probes go on without using the CPU."""
    monitored.serving()
    waiting = asking("/reload", {})
    until(monitored.server.receive, "the ask")
    monitored.server.close()
    outcome = json.loads(waiting.getresponse().read())
    before = cpu_s(monitored.pid)
    probes = [monitored.get("/livez").status for _ in range(3)]
    psutil.Process(monitored.pid).cpu_percent(0.5)

    assert {"code": 1, "because": "the server is gone"} == outcome
    assert [200, 200, 200] == probes
    assert cpu_s(monitored.pid) - before < 0.2


def test_it_is_deaf_to_what_is_meant_for_the_group(monitored: Monitored) -> None:
    """TERM, INT, HUP, QUIT, USR1, USR2 change nothing."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        monitored.process.signal(number)
        assert 200 == monitored.get("/livez").status

    assert monitored.process.running
    assert "" == monitored.process.stderr


def test_nothing_that_comes_over_the_channel_ends_it(monitored: Monitored) -> None:
    """Messages with facts of the wrong kind are faults that are said, a few of them, and no more."""
    for _ in range(40):
        monitored.server.send({"event": "boot", "since": "yesterday"})
        monitored.server.send({"answer": [1], "code": {}})
        monitored.server.send({"event": None})
    monitored.server.send({"event": "boot", "step": "after"})
    status = until(lambda: (status := monitored.json("/status"))["boot"]["step"] and status, "the last message")
    faults = [event for event in monitored.process.events if event["event"] == "launcher.monitor_fault"]

    assert "after" == status["boot"]["step"]
    assert 20 == len(faults)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent(spawn: Spawner, tmp_path: Path, number: signal.Signals) -> None:
    """However the parent ends, kill -9 included, the monitor is gone at once."""
    made = handmade(tmp_path)
    plan = write_plan(made.plan(0))
    parent = spawn(
        [sys.executable, "-P", "-c", PARENT, str(plan), ",".join(map(str, made.fds))],
        pass_fds=(plan, *made.fds),
    )
    monitor = int(until(lambda: parent.stdout, "the monitor's pid"))
    until(lambda: made.get("/livez").status, "the first answer")
    before = time.monotonic()
    parent.signal(number)
    until(lambda: not psutil.pid_exists(monitor) or _is_zombie(monitor), "the monitor's end")
    took_s = time.monotonic() - before
    os.close(plan)
    made.close()

    assert took_s < (1.0 if sys.platform == "linux" else 3.0)


def test_it_does_not_outlive_a_parent_that_was_gone_before(spawn: Spawner, tmp_path: Path) -> None:
    """Started by somebody else than the plan says, it ends by itself."""
    made = handmade(tmp_path)
    plan = write_plan(made.plan(os.getpid() + 1))
    argv = [sys.executable, "-P", "-m", "launcher.monitor"]
    status = spawn(argv, env={PLAN_FD: str(plan)}, pass_fds=(plan, *made.fds)).wait()
    os.close(plan)
    made.close()

    assert 0 == status


def test_its_successor_goes_on(spawn: Spawner, tmp_path: Path) -> None:
    """Killed and started again with the same descriptors, it knows the pool, and nobody was refused meanwhile."""
    made = handmade(tmp_path)
    first = start(spawn, made)
    first.serving(wanted=2)
    first.process.popen.kill()
    first.process.wait()
    waiting = first.client()
    waiting.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
    second = start(spawn, replace(made))
    answer = waiting.recv(12)
    status = second.json("/status")
    second.process.popen.kill()
    waiting.close()
    made.close()

    assert b"HTTP/1.1 200" == answer
    assert ("serving", 1, 2) == (status["state"], status["ready"], status["wanted"])


@linux
def test_it_costs_little(monitored: Monitored) -> None:
    """At most 12 MB are private to it, after it has been asked everything once; idle it hardly uses the CPU."""
    monitored.serving()
    for target in ("/livez", "/startupz?verbose", "/readyz", "/status", "/metrics", "/nothing"):
        monitored.local(target)
    used_bytes, before = private_bytes(monitored.pid), cpu_s(monitored.pid)
    time.sleep(2)  # the claim is about nothing happening

    assert used_bytes < 12_000_000
    assert cpu_s(monitored.pid) - before <= 0.02  # a tick of the kernel's clock is 0.01


@linux
def test_it_imports_nothing_heavy(monitored: Monitored) -> None:
    """No event loop, no TLS, no logging library, no plugin manager: neither imported nor mapped."""
    program = f"import sys; import launcher.monitor.process; print(*{HEAVY!r} & set(sys.modules))"
    heavy = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout
    maps = Path(f"/proc/{monitored.pid}/maps").read_text(encoding="utf-8")

    assert "" == heavy.strip()
    assert "libssl" not in maps
    assert "psutil" not in maps


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
