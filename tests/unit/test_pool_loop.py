"""What is done in each turn of a server's loop, whatever goes wrong?"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.log import Log, log
from launcher.notify import Notifier
from launcher.serving.crossed import Crossed
from launcher.serving.pool.loop import Loop, make_loop
from launcher.serving.rules import Rules
from support.play import BOOT_S, Play

RELOADING, READY = "RELOADING=1", "READY=1"


class Turning:
    """A loop over a played pool, and systemd's end of its socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)  # noqa: FBT003 - its only signature
        self.play = Play()
        environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}
        notifier = Notifier(environ, lambda: self.play.now)
        self.loop: Loop = make_loop(Crossed(notifier=notifier), Rules(workers=4), self.play, ())
        self.play.pool = self.loop.pool
        self.loop.pool.clock = lambda: self.play.now
        self.loop.pool.wave.cpus = lambda: 4.0  # all start at once, wherever this runs

    def turn(self, seconds: float = 0.0) -> list[str]:
        """Let time pass, in turns; return the first line of each message that came."""
        until, told = self.play.now + seconds, []
        while True:
            self.loop.turn()
            told += self.told()  # the kernel keeps ten
            if self.play.now >= until:
                return told
            self.play.run(0.5)

    def told(self) -> list[str]:
        """Return the first line of each message."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().partition("\n")[0])
            except BlockingIOError:
                return messages


@pytest.fixture
def turning(tmp_path: Path) -> Iterator[Turning]:
    """A loop whose four workers are ready."""
    made = Turning(tmp_path / "notify")
    assert READY in made.turn(BOOT_S + 1)
    yield made
    made.loop.alarm.forget()
    made.loop.notifier.close()
    made.socket.close()
    os.close(made.loop.pool.board.fd)


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """Return the events that are logged, as they come."""
    events: list[str] = []
    log.listener = lambda event, _: events.append(event)
    yield events
    log.listener = Log().listener


def test_a_reload_that_is_refused_at_once_is_told(turning: Turning) -> None:
    """Type=notify-reload waits for RELOADING and READY, whatever came of it."""
    turning.play.loads = False
    turning.loop.pool.reload()

    assert [RELOADING, READY] == turning.turn()


def test_a_reload_during_a_reload_is_told_anew(turning: Turning) -> None:
    """Systemd passes over a RELOADING that is older than its wish."""
    turning.loop.pool.reload()
    first = turning.turn()
    turning.loop.pool.reload()
    told = [word for word in turning.turn(60) if word in {RELOADING, READY}]

    assert [RELOADING] == first
    assert [RELOADING, READY] == told


def test_a_fault_of_ours_is_not_hidden(turning: Turning, faults: list[str]) -> None:
    """Systemd learns what is, a stop is heard; the watchdog goes hungry, and the fault is said once a minute."""
    turning.play.startable = ValueError("a bug")
    turning.play.workers[101].ends_at = turning.play.now
    turning.play.workers[101].status = int(signal.SIGKILL)
    del turning.play.workers[101]
    turning.loop.died(101, int(signal.SIGKILL))
    told = [word for _ in range(100) for word in turning.turn()]
    said = faults.count("launcher.pool_fault")
    for _ in range(3):
        turning.play.now += 61
        turning.loop.turn()

    assert 20 == said
    assert "STATUS=3 of 4 workers ready" in told
    assert "WATCHDOG=1" not in told + turning.told()
    assert 23 == faults.count("launcher.pool_fault")
    turning.loop.pool.stop("SIGTERM")
    assert ["STOPPING=1"] == [word for word in turning.turn() if word != "WATCHDOG=1"]


def test_the_watchdog_is_fed_by_a_loop_that_works(turning: Turning) -> None:
    """Each second, of the two that systemd gives."""
    assert turning.turn(10).count("WATCHDOG=1") >= 8
