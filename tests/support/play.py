"""How is a pool played without processes?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from launcher.limits.oom import OomCounts
from launcher.scoreboard import Board, Slot, Stage
from launcher.serving.evidence import Evidence
from launcher.serving.pool.decisions import Pool
from launcher.serving.pool.killings import OomCounter
from launcher.serving.pool.voice import Voice
from launcher.serving.rules import Rules

BOOT_S, LEAVE_S = 2.0, 1.0


class Ears(Voice):
    """Who keeps what the pool says."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def say(self, event: str, **facts: object) -> None:
        """Keep it."""
        self.heard.append((event, facts))

    warn = say


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
    stays: bool = False
    copy: int = 0
    ooms: int = 0
    startable: Exception | bool = True
    workers: dict[int, Played] = field(default_factory=dict)
    most: int = 0
    started: int = 0
    listening: bool = True
    kept: list[str] = field(default_factory=list)
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
        """Nothing has to be prepared, unless it was said."""
        if isinstance(self.startable, Exception):
            raise self.startable
        return self.startable

    def send(self, pid: int, number: int) -> None:
        """A worker that is asked leaves after a while; SIGABRT and SIGKILL end it at once."""
        if (worker := self.workers.get(pid)) is None:
            return
        if number == signal.SIGTERM and worker.slot.asked and not self.stays:
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
        """Remember it."""
        self.kept.append("new")

    def keep_old(self) -> None:
        """Remember it."""
        self.kept.append("old")

    def resized(self, wanted: int) -> None:
        """Nothing to do."""

    def copy_bytes(self) -> int:
        """Return what was set."""
        return self.copy

    def kill(self, pid: int) -> None:
        """Somebody kills a worker."""
        self.workers[pid].ends_at, self.workers[pid].status = self.now, int(signal.SIGKILL)

    def run_out_of_memory(self, pid: int) -> None:
        """The kernel kills a worker for memory."""
        self.ooms += 1
        self.kill(pid)

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
            self.pool.look_at_sizes()

    @property
    def ready(self) -> int:
        """How many serve."""
        return len(self.pool.members.serving)


@contextmanager
def playing() -> Iterator[Play]:
    """A pool of four, ready."""
    with begun(Rules(workers=4, graceful_timeout_s=8, restart_intensity=5)) as play:
        play.run(BOOT_S + 1)
        assert play.ready == 4
        yield play


@contextmanager
def begun(rules: Rules) -> Iterator[Play]:
    """A pool that has not started its workers yet."""
    play = Play()
    board = Board.create()
    play.pool = Pool(rules, board, play, Voice(), OomCounter(lambda: OomCounts(play.ooms)), clock=lambda: play.now)
    yield play
    os.close(board.fd)
