"""Does the monitor know how the pool is, and does it answer the probes by that?"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.monitor.health import Health, Line
from launcher.monitor.view import LOOP_S, SILENT_S, Boot, View
from launcher.scoreboard import Board, BoardState, Slot, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

STEP = {"event": "boot", "step": "migrate", "waiting_for": "orders-1 (pid 7)"}


@dataclass
class Scene:
    """A board, and a monitor's view of it whose clock the test sets."""

    board: Board = field(default_factory=Board.create)
    now: float = field(default_factory=time.monotonic)
    view: View = field(init=False)

    def __post_init__(self) -> None:
        self.view = View(self.board, lambda: self.now)

    def serving(self, *stages: Stage, wanted: int | None = None) -> list[Slot]:
        """Let there be a server with a worker at each of these stages, heard of just now."""
        self.board.arbiter_pid = 1
        self.board.wanted = len(stages) if wanted is None else wanted
        self.board.state = BoardState.SERVING
        self.board.heartbeat = self.now
        return [self._worker(number, stage) for number, stage in enumerate(stages, 1)]

    def _worker(self, number: int, stage: Stage) -> Slot:
        slot = self.board.slot(number - 1)
        slot.clear(generation=1, number=number)
        slot.stage = stage
        slot.heartbeat = self.now
        return slot

    def asleep(self, seconds: float) -> None:
        """Let so much time go by in which the monitor looks once a second, as it does."""
        until = self.now + seconds
        while self.now < until:
            self.now += 1
            self.view.look()

    def line(self, probe: Any, name: str, ready_workers: str = "1") -> Line:
        """Return the line of this name of a probe's answer."""
        return next(line for line in Health(self.view, ready_workers).ask(probe).lines if line.name == name)


@pytest.fixture
def scene() -> Scene:
    """Return an empty board and a view of it."""
    return Scene()


def test_a_worker_is_ready_while_its_loop_turns(scene: Scene) -> None:
    """Ready are those that say so, are not asked to leave, and have given a sign of life in the last seconds."""
    ready, leaving, _booting, _draining = scene.serving(Stage.READY, Stage.READY, Stage.LIFESPAN, Stage.DRAINING)
    leaving.asked = 1
    before = scene.view.ready
    scene.asleep(SILENT_S + 1)
    silent = scene.view.ready, scene.view.silent
    ready.heartbeat = scene.now

    assert 1 == before
    assert (0, 1) == silent
    assert (1, 0) == (scene.view.ready, scene.view.silent)


def test_liveness_is_about_the_servers_loop(scene: Scene) -> None:
    """Alive: booting, and while the loop's heartbeat is young; dead workers do not count."""
    booting = scene.view.alive()[0]
    scene.serving()
    scene.asleep(LOOP_S - 1)
    young = scene.view.alive()[0]
    scene.asleep(2)

    assert (True, True, False) == (booting, young, scene.view.alive()[0])
    assert "the loop turned 16.0 s ago" == scene.view.alive()[1]


def test_a_host_that_was_asleep_is_not_dead(scene: Scene) -> None:
    """After the whole group stood still, nobody's heartbeat is young, and nobody is taken for silent because of it."""
    scene.serving(Stage.READY)
    scene.asleep(1)
    scene.now += 100
    scene.view.look()
    after = scene.view.alive()[0], scene.view.ready
    scene.asleep(LOOP_S + 1)

    assert (True, 1) == after
    assert (False, 0) == (scene.view.alive()[0], scene.view.ready)


def test_how_many_are_missing_is_the_pools_word(scene: Scene) -> None:
    """Whoever looks at the board, and whenever it began to, knows how many were given up."""
    scene.board.given_up = 2

    assert (2, 2) == (scene.view.given_up, View(scene.board).given_up)


def test_what_boot_does_is_told_until_there_is_a_server(scene: Scene) -> None:
    """Step, whom it waits for and for how long; nothing of that any more once the server has begun."""
    empty = scene.line("startupz", "started").detail
    scene.view.hear({**STEP, "since": scene.now - 30})
    during = scene.view.boot, scene.line("startupz", "started"), scene.line("readyz", "workers").detail
    scene.serving()

    assert "booting" == empty
    told = "step migrate, waiting for orders-1 (pid 7), for 30 s"
    assert (Boot("migrate", "orders-1 (pid 7)", scene.now - 30), Line("started", ok=False, detail=told), told) == during
    assert Boot() == scene.view.boot


def test_what_happens_is_counted(scene: Scene) -> None:
    """Events of the channel are counted: deaths by verdict, starts, reloads, durations; all others are passed over."""
    for event in (
        {"event": "launcher.worker_started", "pid": 1},
        {"event": "launcher.worker_died", "verdict": "oom"},
        {"event": "launcher.worker_boot_failed", "verdict": "boot-failed"},
        {"event": "launcher.worker_died", "verdict": "oom"},
        {"event": "launcher.pool_reloaded", "generation": 2},
        {"event": "launcher.step_done", "step": "migrate", "seconds": 3.5},
        {"event": "launcher.lock_acquired", "waited_s": 0.25},
        {"event": "launcher.worker_died"},
        {"answer": 3, "code": 0},
    ):
        scene.view.hear(event)

    assert {"oom": 2, "boot-failed": 1} == scene.view.deaths
    assert (1, 1) == (scene.view.started, scene.view.reloads)
    assert ({"migrate": 3.5}, 0.25) == (scene.view.steps, scene.view.lock_waited_s)


def test_deaths_are_counted_by_slot(scene: Scene) -> None:
    """Whoever has the slot; one who was wanted to go is none; workers that were there before are known."""
    (before,) = scene.serving(Stage.READY)
    before.pid = 5
    view = View(scene.board, lambda: scene.now)
    for event in (
        {"event": "launcher.worker_died", "pid": 5, "verdict": "oom"},
        {"event": "launcher.worker_started", "pid": 6, "slot": 0},
        {"event": "launcher.worker_started", "pid": 7, "slot": 1},
        {"event": "launcher.worker_boot_failed", "pid": 6, "verdict": "boot-failed"},
        {"event": "launcher.worker_stopped", "pid": 7},
        {"event": "launcher.worker_died", "pid": 7, "verdict": "oom"},
        {"event": "launcher.worker_died", "pid": 99, "verdict": "oom"},
    ):
        view.hear(event)

    assert {0: 2} == view.lost


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (BoardState.BOOTING, "booting"),
        (BoardState.SERVING, "serving"),
        (BoardState.DRAINING, "draining"),
        (BoardState.STOPPED, "draining"),
    ],
)
def test_the_state_is_one_of_three(scene: Scene, state: BoardState, told: str) -> None:
    """A pool that has stopped is still one that drains, for whoever asks."""
    scene.board.state = state

    assert told == scene.view.state


@pytest.mark.parametrize(
    ("ready_workers", "wanted", "needed"),
    [("1", 4, 1), ("3", 4, 3), ("3", 2, 2), ("50%", 5, 3), ("50%", 1, 1), ("100%", 4, 4), ("0%", 4, 1), ("2", 0, 1)],
)
def test_how_many_have_to_be_ready(scene: Scene, ready_workers: str, wanted: int, needed: int) -> None:
    """A number or a share rounded up; one at least, and never more than there are to be."""
    scene.serving(wanted=wanted)

    assert needed == Health(scene.view, ready_workers).needed


@pytest.mark.parametrize("ready_workers", ["", "two", "half%"])
def test_what_is_no_number_is_refused(scene: Scene, ready_workers: str) -> None:
    """Anything else is a ValueError at the start, not at the first probe."""
    with pytest.raises(ValueError, match=r"invalid|could not"):
        Health(scene.view, ready_workers)


@pytest.mark.parametrize(("ready_workers", "ok"), [("1", True), ("2", False), ("50%", True), ("51%", False)])
def test_readiness_is_a_quorum(scene: Scene, ready_workers: str, *, ok: bool) -> None:
    """With one of two workers blocked the probe says 1/2, and passes by what was asked for."""
    _blocked, other = scene.serving(Stage.READY, Stage.READY)
    scene.asleep(SILENT_S + 1)
    other.heartbeat = scene.now

    line = scene.line("readyz", "workers", ready_workers)
    assert ok == line.ok
    assert line.detail.startswith("1/2 ready, ")
    assert line.detail.endswith(" needed, 1 silent")


def test_a_pool_that_drains_is_not_ready(scene: Scene) -> None:
    """From the word to stop on readiness fails, with all workers still ready; liveness and startup do not."""
    scene.serving(Stage.READY)
    health = Health(scene.view)
    before = health.ask("readyz").ok
    scene.board.state = BoardState.DRAINING

    assert before
    assert [("workers", True), ("draining", False)] == [line[:2] for line in health.ask("readyz").lines]
    assert health.ask("livez").ok
    assert health.ask("startupz").ok


def test_started_is_for_ever(scene: Scene) -> None:
    """Startup passes once enough workers were ready at the same time, whatever comes later."""
    health = Health(scene.view, "2")
    scene.board.wanted, scene.board.arbiter_pid = 2, 1
    first = health.ask("startupz")
    scene.serving(Stage.READY, Stage.READY)
    second = health.ask("startupz")
    scene.board.slot(0).free()

    assert (False, True, True) == (first.ok, second.ok, health.ask("startupz").ok)
    assert "0/2 ready, 2 needed" == first.lines[0].detail
    assert not health.ask("readyz").ok


def test_a_monitor_that_comes_later_knows_that_it_has_started(scene: Scene) -> None:
    """One that was started again, while no worker is ready, does not take the pool for one that never was."""
    scene.serving(wanted=1)

    assert Health(scene.view).ask("startupz").ok


def test_checks_of_plugins_belong_to_their_group(scene: Scene) -> None:
    """A failed check of the readiness group fails readiness, of the startup group startup; liveness has none."""
    scene.serving(Stage.READY)
    asked: list[str] = []

    def others(group: str) -> Sequence[Line]:
        asked.append(group)
        return (Line("database", ok=False, detail="refused"),) if group == "readiness" else ()

    health = Health(scene.view, "1", others)
    answers = [health.ask(probe) for probe in ("livez", "startupz", "readyz")]

    assert [True, True, False] == [answer.ok for answer in answers]
    assert ["startup", "readiness"] == asked
    assert ["workers", "draining", "database"] == [line.name for line in answers[2].lines]
