"""What happens to the pool next?

The machine of states against workers that are played: processes, clock and signals are lists and numbers, so that an
hour of misfortune passes in a second and is the same for the same seed.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from launcher.errors import ExitCode
from launcher.scoreboard import Board, Slot, Stage
from launcher.serving.evidence import Evidence
from launcher.serving.pool.deaths import OomCounter
from launcher.serving.pool.decisions import Pool
from launcher.serving.pool.voice import Voice
from launcher.serving.rules import Rules

BOOT_S, LEAVE_S = 2.0, 1.0


@dataclass
class Played:
    """A process: when it is ready, when it ends, and with what wait status."""

    slot: Slot
    ready_at: float
    ends_at: float = float("inf")
    status: int = 0


@dataclass
class Play:
    """The hands of a server that has no processes. What is about to happen to new workers can be set."""

    now: float = 1000.0
    boots: bool = True
    loads: bool = True
    hangs: bool = False
    workers: dict[int, Played] = field(default_factory=dict)
    most: int = 0
    started: int = 0
    listening: bool = True
    pool: Pool = field(init=False)

    def start_worker(self, slot: Slot, _evidence: Evidence, _generation: int) -> int:
        """Start one that fails at once, hangs, or is ready after a while."""
        self.started += 1
        pid = 100 + self.started
        never = float("inf")
        worker = Played(slot, never if self.hangs or not self.boots else self.now + BOOT_S)
        slot.stage = Stage.IMPORTING
        slot.stage_since = self.now
        if not self.boots:
            worker.ends_at, worker.status = self.now + 0.5, 3 << 8
        self.workers[pid] = worker
        self.most = max(self.most, len(self.workers))
        return pid

    def can_start(self) -> bool:
        """Nothing has to be prepared."""
        return True

    def send(self, pid: int, number: int) -> None:
        """A worker that is asked leaves after a while; SIGABRT and SIGKILL end it at once."""
        if (worker := self.workers.get(pid)) is None:
            return
        if number == signal.SIGTERM and worker.slot.asked:
            worker.ends_at = min(worker.ends_at, self.now + (LEAVE_S if worker.slot.asked == 1 else 0.1))
        elif number in {signal.SIGABRT, signal.SIGKILL}:
            worker.ends_at, worker.status = self.now, int(number)

    def stop_listening(self) -> None:
        """Remember it."""
        self.listening = False

    def load_new(self) -> None:
        """Succeed, or not."""
        if not self.loads:
            raise ValueError("no such worker class")

    def new_is_ready(self) -> bool:
        """Nothing has to be prepared."""
        return True

    def keep_new(self) -> None:
        """Nothing to do."""

    def keep_old(self) -> None:
        """Nothing to do."""

    def resized(self, wanted: int) -> None:
        """Nothing to do."""

    def kill(self, pid: int) -> None:
        """Somebody kills a worker."""
        self.workers[pid].ends_at, self.workers[pid].status = self.now, int(signal.SIGKILL)

    def run(self, seconds: float) -> None:
        """Let time pass, as a server's loop would."""
        end = self.now + seconds
        while self.now < end and self.pool.outcome is None:
            self.now += self.pool.pause_s()
            for pid, worker in list(self.workers.items()):
                if worker.slot.stage == Stage.IMPORTING and self.now >= worker.ready_at:
                    worker.slot.stage = Stage.READY
                    worker.slot.stage_since = self.now
                if worker.slot.stage == Stage.READY:
                    worker.slot.heartbeat = self.now
                if self.now >= worker.ends_at:
                    del self.workers[pid]
                    self.pool.died(pid, worker.status)
            self.pool.step()

    @property
    def ready(self) -> int:
        """How many serve."""
        return len(self.pool.members.serving)


@pytest.fixture
def play() -> Iterator[Play]:
    """A pool of four, ready."""
    play = Play()
    rules = Rules(workers=4, graceful_timeout_s=8, restart_intensity=5)
    board = Board.create()
    play.pool = Pool(rules, board, play, Voice(), OomCounter(lambda: 0), clock=lambda: play.now)
    play.run(BOOT_S + 1)
    assert play.ready == 4
    yield play
    os.close(board.fd)


def test_a_failed_replacement_leaves_the_others_alone(play: Play) -> None:
    """With three of four ready a replacement may fail for an hour: few starts, no end, and all four at last."""
    play.boots = False
    play.kill(101)
    play.run(3600)
    started = play.started

    assert play.ready == 3
    assert started < 4 + 3600 / 15
    play.boots = True
    play.run(60)
    assert (play.ready, play.pool.outcome) == (4, None)


def test_a_reload_replaces_one_at_a_time(play: Play) -> None:
    """All four are new in the end, and there were never more than five."""
    answers: list[int] = []
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(60)

    assert answers == [0]
    assert {member.generation for member in play.pool.members} == {2}
    assert (play.ready, play.most) == (4, 5)


def test_a_reload_of_broken_code_keeps_the_old(play: Play) -> None:
    """The first worker that cannot boot ends it; the same four serve, and the answer is not 0."""
    before = set(play.workers)
    answers: list[int] = []
    play.boots = False
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(60)

    assert answers == [ExitCode.NEVER_READY]
    assert set(play.workers) == before


def test_a_reload_of_a_broken_configuration_starts_nothing(play: Play) -> None:
    """It is known before any worker is touched."""
    play.loads = False
    answers: list[tuple[int, str]] = []
    play.pool.reload(lambda code, because: answers.append((code, because)))
    play.run(60)

    assert answers == [(3, "the new configuration cannot be used: no such worker class")]
    assert play.started == 4


def test_a_reload_with_nobody_left_waits_for_somebody(play: Play) -> None:
    """All are dead and the pool pauses: a reload ends the pause, and is done when a worker of the new code is ready."""
    play.boots = False
    for pid in list(play.workers):
        play.kill(pid)
    play.run(0.8)
    play.boots = True
    play.pool.restarts.not_before = play.now + 30
    answers: list[tuple[int, float]] = []
    asked = play.now
    play.pool.reload(lambda code, _: answers.append((code, play.now - asked)))
    play.run(20)

    assert [code for code, _ in answers] == [0]
    assert BOOT_S <= answers[0][1] < 2 * BOOT_S + 1


def test_a_reload_during_a_reload_is_done_after_it(play: Play) -> None:
    """The code may have changed once more: nobody is left with what was read in the middle."""
    answers: list[int] = []
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(3)
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(120)

    assert answers == [0, 0]
    assert {member.generation for member in play.pool.members} == {3}


def test_everybody_who_asks_is_answered(play: Play) -> None:
    """Asked for twice, or dropped at a stop: nobody waits for ever."""
    codes: list[int] = []
    for _ in range(2):
        play.pool.recycle(101, "asked", lambda code, _: codes.append(code))
    play.run(20)
    for _ in range(3):
        play.pool.reload(lambda code, _: codes.append(code))
    play.pool.stop("SIGTERM")

    assert codes == [0, 0, 1, 1, 1]


def test_a_reload_keeps_the_scaled_size(play: Play) -> None:
    """Six were asked for, six there are."""
    play.pool.scale(6)
    play.run(30)
    play.pool.reload()
    play.run(120)

    assert play.ready == 6


def test_scaling_down_retires_the_oldest(play: Play) -> None:
    """Two leave, as asked; the younger two stay."""
    answers: list[int] = []
    play.pool.scale(2, lambda code, _: answers.append(code))
    play.run(30)

    assert sorted(play.workers) == [103, 104]
    assert answers == [0]


def test_a_hung_boot_ends_the_reload(play: Play) -> None:
    """After the startup timeout the new worker is killed, and the old ones go on."""
    before = set(play.workers)
    play.hangs = True
    answers: list[int] = []
    play.pool.reload(lambda code, _: answers.append(code))
    play.run(130)

    assert answers == [ExitCode.NEVER_READY]
    assert set(play.workers) == before


def test_nobody_is_blamed_for_a_frozen_host(play: Play) -> None:
    """Ten minutes in which nothing ran, our loop neither: no worker is killed for its old heartbeat."""
    before = set(play.workers)
    play.now += 600
    play.pool.step()
    play.run(60)

    assert set(play.workers) == before


def test_a_stop_drains_before_it_closes(play: Play) -> None:
    """During the delay the pool listens, and workers that die are not replaced; then all leave, exit code 0."""
    play.pool.adopt(Rules(workers=4, drain_delay_s=5, graceful_timeout_s=8))
    play.pool.stop("SIGTERM")
    play.run(4)
    during = play.listening
    play.run(5)

    assert (during, play.listening) == (True, False)
    assert (play.pool.outcome, play.workers) == (ExitCode.OK, {})


def test_a_second_signal_ends_the_delay(play: Play) -> None:
    """Whoever asks twice is in a hurry."""
    play.pool.adopt(Rules(workers=4, drain_delay_s=500, graceful_timeout_s=8))
    play.pool.stop("SIGTERM")
    play.run(2)
    play.pool.stop("SIGTERM")
    play.run(3)

    assert play.pool.outcome is ExitCode.OK


def misfortune(play: Play, luck: random.Random) -> None:
    """Let something happen."""
    match luck.choice(["reload", "scale", "scale", "kill", "recycle", "time", "boots"]):
        case "reload":
            play.pool.reload()
        case "scale":
            play.pool.scale(play.pool.wanted + luck.choice([-1, 1]))
        case "kill" if play.workers and (play.boots or play.ready > 1):  # all dead, and none that boots: that is 70
            play.kill(luck.choice(list(play.workers)))
        case "recycle" if play.workers:
            play.pool.recycle(luck.choice(list(play.workers)), "luck")
        case "boots":
            play.boots = luck.random() < 0.8
        case _:
            pass


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_it_ends_at_the_wanted_size(play: Play, seed: int) -> None:
    """After two hundred reloads, scalings, recyclings and kills at random: the wanted number, ready, and no more."""
    luck = random.Random(seed)  # noqa: S311 - a play
    play.pool.restarts.intensity = 10**6
    for _ in range(200):
        misfortune(play, luck)
        play.run(luck.uniform(0, 4))
        play.boots = play.boots or play.ready < 2
    play.boots = True
    play.run(900)

    assert play.pool.outcome is None
    assert (play.ready, len(play.workers)) == (play.pool.wanted, play.pool.wanted)
    assert not play.pool.rolling.busy
