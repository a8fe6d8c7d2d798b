"""Is every probe answered with the truth, from the first moments of a start to the exit?"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from support.launched import http_get
from support.monitored import GATE, Outcome, Steered, ended, gated_step, gone, other_monitor, start_steered
from support.pool import APP, BARE, linux_only
from support.probes import RATE, Probe, answered, between, failed, p95_s, refused, start_prober
from support.projects import write_project
from support.side_by_side import side_by_side
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

pytestmark = linux_only

FIRST_S = 5.0  # 0.15 on an idle machine; what a loaded one needs to start a measured Python is not the launcher's doing
ANSWERED_S = 0.5
MEDIAN_S = 0.1
STEP_S = 2.0
WAIT_S = 1.5
DELAY_S = 1.0
BACK_S, GONE_S = 2.0, 3.0  # of the monitor, after a kill -9
STEPS = ("before", "migrate")
PROBES = ("live", "startup", "ready")
# One request that ends when the test says so, in front of the application that the other tests use.
HELD = """
import asyncio, pathlib
from pool_app import app as inner

async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/held":
        pathlib.Path("held.begun").touch()
        while not pathlib.Path("held").exists():
            await asyncio.sleep(0.01)
    await inner(scope, receive, send)
"""


@dataclass(frozen=True, slots=True)
class Phase:
    """What was seen in one phase of a life: exit codes of `launcher health`, and `launcher status --json`."""

    codes: tuple[int, ...]  # of PROBES
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Life:
    """A launcher's life between two gates: it waits for a lock, runs a step, serves, reloads, drains, ends."""

    steered: Steered
    holder: int
    born: float  # as all instants: seconds of the wall clock
    terminated: float
    probes: list[Probe]
    requests: list[Probe]  # of the application, from before the signal until nobody listens any more
    phases: dict[str, Phase]
    reload: Outcome
    code: int

    def at(self, event: str) -> float:
        """Return when the last event of this name was logged."""
        found = [one for one in self.steered.run.events if one.get("event") == f"launcher.{event}"]
        assert found, f"no {event}: {self.steered.run}"
        return datetime.fromisoformat(found[-1]["timestamp"]).timestamp()

    @property
    def first(self) -> Probe:
        """The first answer."""
        return answered(self.probes)[0]

    def texts(self, path: str, begin: float, end: float) -> set[str]:
        """Return what the Unix socket answered to this probe within this time."""
        return {probe.text for probe in answered(between(self.probes, begin, end), path, "unix")}


def look(steered: Steered) -> Phase:
    """Run all commands that only look, at the same time."""
    asked = [steered.begin("health", probe) for probe in PROBES]
    status = steered.status()
    return Phase(tuple(ended(one).code for one in asked), status)


def live(spawn: Spawner, folder: Path, server: str) -> Life:
    """Play it."""
    holder = _held_lock(spawn, folder)
    project, health_port = folder / "project", free_port()
    prober = start_prober(spawn, f"tcp:{health_port}", f"unix:{project / 'run'}")
    born, phases = time.time(), {}
    steered = start_steered(spawn.launch, project, server, "--drain-delay", "1s", health_port=health_port)
    pool = steered.pool
    pool.until(lambda: steered.run.event("launcher.lock_busy"), "the wait for the lock")
    busy = time.time()
    phases["waiting"] = look(steered)
    pass_until(busy + WAIT_S)
    (folder / "before").touch()
    pool.until((folder / "migrate.begun").exists, "the step")
    begun = time.time()
    phases["step"] = look(steered)
    pass_until(begun + STEP_S)
    (folder / "migrate").touch()
    pool.ready(2)
    phases["serving"] = look(steered)
    reload = steered.command("reload")
    requests = start_prober(spawn, f"tcp:{pool.port}", paths=["/"], rate=50)
    terminated = time.time()
    phases["draining"] = drained(steered)
    code = steered.run.wait()
    return Life(steered, holder.pid, born, terminated, prober.stop(), requests.stop(), phases, reload, code)


def _held_lock(spawn: Spawner, folder: Path) -> Launched:
    """Return a launcher that holds the lock until there is a file `before`."""
    files = {name: f'lock = "file:{folder / "lock"}"\n' + gated_step(name, folder / name) for name in STEPS}
    project = {"main.py": HELD, "pool_app.py": APP, "gate.py": GATE, "launcher.toml": files["migrate"]}
    write_project(folder / "project", project)
    write_project(folder / "other", {"gate.py": GATE, "launcher.toml": files["before"]})
    holder = spawn.launch("prestart", cwd=folder / "other")
    until(lambda: (folder / "before.begun").exists() or not holder.running, "the holder's step", 20)
    assert holder.running, holder
    return holder


def drained(steered: Steered) -> Phase:
    """Send TERM while a request is in flight that ends when all has been seen."""
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(http_get, steered.pool.port, "/held", 60)
        steered.pool.until((steered.folder / "held.begun").exists, "a request in flight")
        steered.pool.tell(signal.SIGTERM)
        steered.pool.seen("pool_stopping")
        phase = look(steered)
        (steered.folder / "held").touch()
        assert 200 == (held.result() or (0, ""))[0], steered.run
    return phase


def pass_until(instant: float) -> None:
    """Return when it is so late."""
    until(lambda: time.time() >= instant, "the instant", 60)


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Life]]:
    """Play one life for each server, side by side; the tests of this module look at them from all sides."""
    with side_by_side(tmp_path_factory, live) as played:
        yield played


@pytest.fixture(params=BARE)
def life(request: pytest.FixtureRequest, lives: dict[str, Life]) -> Life:
    """Return the life of one server."""
    return lives[request.param]


def test_no_probe_is_refused(life: Life) -> None:
    """From the first accepted connection to the last worker's end each is answered: wait, step, exec, reload, drain."""
    last = life.at("worker_stopped")
    during = between(life.probes, life.first.at, last)

    assert [] == refused(life.probes, last)
    assert len(during) > 0.5 * RATE * (last - life.first.at)
    assert p95_s(during) < ANSWERED_S
    assert median(probe.took_s for probe in during) < MEDIAN_S
    assert 0 == life.code
    assert 0 == life.reload.code, life.reload


def test_probes_are_answered_before_anything_is_begun(life: Life) -> None:
    """The first probe is answered within moments, before any step begins."""
    assert life.first.ended < life.at("step_started")
    assert life.first.ended - life.born < FIRST_S


def test_the_exec_is_not_seen(life: Life) -> None:
    """Around the exec no probe takes longer than allowed, by either socket."""
    exec_at = life.at("handed_over")
    around = between(life.probes, exec_at - 0.5, exec_at + 0.5)

    assert {"tcp", "unix"} == {probe.by.partition(":")[0] for probe in answered(around)}
    assert p95_s(around) < ANSWERED_S


def test_liveness_is_there_all_through(life: Life) -> None:
    """/livez says 200 from the first to the last answer."""
    answers = answered(life.probes, "/livez")

    assert {(200, "ok\n")} == {(probe.status, probe.text) for probe in answers}


def test_startup_names_holder_and_step(life: Life) -> None:
    """/startupz is 503, names the holder and its step, then our own step, then is 200 for good."""
    begun, done = life.at("step_started"), life.at("step_done")
    waiting = life.texts("/startupz", life.at("lock_busy") + 0.5, begun - 0.1)
    at_work = life.texts("/startupz", begun + 0.1, done - 0.1)
    statuses = [probe.status for probe in answered(life.probes, "/startupz")]

    assert all(f"pid {life.holder}" in text and "step 'before'" in text for text in waiting), waiting
    assert {1} == {text.count(", for ") for text in waiting}, waiting
    assert all("step migrate" in text for text in at_work), at_work
    assert at_work
    assert sorted(statuses, reverse=True) == statuses
    assert {200, 503} == set(statuses)
    assert all(probe.at > done for probe in answered(life.probes, "/startupz") if probe.status == 200)


def test_readiness_goes_before_the_listener(life: Life) -> None:
    """/readyz is 503, 200 and 503 again; while it is 503 already, connections are still accepted for the delay."""
    answers = answered(life.probes, "/readyz")
    changes = [new.status for old, new in pairwise(answers) if old.status != new.status]
    gone_at = next(probe.at for probe in answers if probe.at > life.terminated and probe.status == 503)
    accepted = [probe.at for probe in answered(life.requests) if probe.status == 200]

    assert 503 == answers[0].status
    assert [200, 503] == changes
    assert gone_at < life.at("pool_stopping")
    assert max(accepted) - gone_at > DELAY_S / 2
    assert [] == failed(between(life.requests, 0, gone_at))


def test_commands_in_each_phase(life: Life) -> None:
    """The exit codes of `launcher health` and what `status` says are right while it waits, works, serves and drains."""
    codes = {name: phase.codes for name, phase in life.phases.items()}
    told = {name: phase.status for name, phase in life.phases.items()}
    done = {"step": "", "waiting_for": "", "for_s": 0.0}

    assert {"waiting": (0, 1, 1), "step": (0, 1, 1), "serving": (0, 0, 0), "draining": (0, 0, 1)} == codes
    assert ["booting", "booting", "serving", "draining"] == [status["state"] for status in told.values()]
    assert f"pid {life.holder}" in told["waiting"]["boot"]["waiting_for"]
    assert "migrate" == told["step"]["boot"]["step"]
    assert [0, 0, 2] == [told[name]["ready"] for name in ("waiting", "step", "serving")]
    assert done == told["serving"]["boot"]
    assert {life.steered.run.pid} == {status["pid"] for status in told.values()}


@pytest.fixture
def at_work(launch: Launch, project: MakeProject) -> Steered:
    """Return a launcher in the middle of a step."""
    folder = project({"main.py": APP, "gate.py": GATE})
    (folder / "launcher.toml").write_text(gated_step("migrate", folder / "migrate"))
    steered = start_steered(launch, folder, "uvicorn")
    steered.pool.until((folder / "migrate.begun").exists, "the step")
    steered.pool.until(lambda: steered.told()["boot"]["step"] == "migrate", "the step's name")
    return steered


def test_a_killed_monitor_during_a_step(at_work: Steered) -> None:
    """After kill -9 another one answers within two seconds and knows the step; the start goes on to its end."""
    before = at_work.told()
    os.kill(before["monitor"]["pid"], signal.SIGKILL)
    killed_at = time.monotonic()
    after = at_work.pool.until(lambda: other_monitor(at_work, before), "another monitor")
    took_s = time.monotonic() - killed_at
    assert after is not None
    startup = at_work.says("/startupz?verbose", "step migrate", 1.0)
    (at_work.folder / "migrate").touch()
    at_work.pool.ready(2)
    at_work.says("/readyz?verbose", "2/2 ready")

    assert took_s < BACK_S
    assert "migrate" == after["boot"]["step"]
    assert before["app"] == after["app"] == "main:app"
    assert 503 == startup[0]
    assert 0 == at_work.pool.end()


def test_a_killed_launcher_during_a_step(at_work: Steered) -> None:
    """With kill -9 of the launcher its monitor goes, and its step."""
    monitor = at_work.told()["monitor"]["pid"]
    at_work.run.signal(signal.SIGKILL)
    at_work.run.wait()

    gone([monitor], GONE_S)
    assert 1 == at_work.command("health", "live").code
    assert at_work.tcp("/livez") is None
