"""Does the guard end a step whose lock nobody confirms any more, whatever has become of the launcher?"""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.boot import guard
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard's promise is Linux's")
LEASE_S, GRACE_S = 1.2, 2.0  # long beside what a busy machine takes to let a process go on
DEAF = "trap '' TERM; touch begun; while :; do sleep 0.05; done"
BEGINS = "touch begun; sleep 600"


@dataclass(slots=True)
class Guarded:
    """A guard with the launcher's end of its socket."""

    process: subprocess.Popen[bytes]
    control: socket.socket

    def confirm(self, at: float | None = None) -> None:
        """Say that the lock was ours at this instant (now)."""
        self.control.send(struct.pack("=cd", b"h", guard.clock() if at is None else at))

    def word(self) -> dict[str, Any]:
        """Return what the guard tells at its end."""
        self.process.wait(20)
        told: dict[str, Any] = json.loads(self.control.recv(65536))
        return told


@contextmanager
def guarded(folder: Path, script: str, *, confirmed_ago_s: float = 0.0) -> Iterator[Guarded]:
    """Run a step under a guard whose lease was confirmed so long ago."""
    ours, theirs = socket.socketpair()
    confirmed_at = guard.clock() - confirmed_ago_s
    numbers = (str(theirs.fileno()), str(GRACE_S), "-1", "", str(LEASE_S), str(confirmed_at))
    argv = (sys.executable, "-I", "-S", str(Path(guard.__file__)), *numbers, "sh", "-c", script)
    process = subprocess.Popen(argv, cwd=folder, pass_fds=[theirs.fileno()], start_new_session=True)
    theirs.close()
    try:
        yield Guarded(process, ours)
    finally:
        ours.close()
        process.send_signal(signal.SIGCONT)
        process.wait(20)


def test_a_step_without_confirmations_is_killed(tmp_path: Path) -> None:
    """After the lease TERM, after the grace KILL: a deaf step is dead, and the guard says why."""
    started = guard.clock()
    with guarded(tmp_path, DEAF) as run:
        told = run.word()
    took_s = guard.clock() - started

    assert (signal.SIGKILL, True) == (told["status"], told["lapsed"])
    assert LEASE_S + GRACE_S <= took_s < LEASE_S + GRACE_S + 8


def test_confirmations_keep_a_step_alive(tmp_path: Path) -> None:
    """Confirmed in time the step lives on; the lease is counted from the question, not from the word's arrival."""
    with guarded(tmp_path, DEAF) as run:
        until((tmp_path / "begun").exists, "the step", 10)
        start = guard.clock()

        def confirmed_for_long() -> bool:
            run.confirm()
            assert run.process.poll() is None
            return guard.clock() >= start + 2 * LEASE_S

        until(confirmed_for_long, "two leases", 20)
        run.confirm(at=start - 100)  # an old one changes nothing
        last = guard.clock()
        told = run.word()

    assert told["lapsed"]
    assert guard.clock() - last >= GRACE_S


def test_a_step_is_not_begun_on_a_lease_that_is_over(tmp_path: Path) -> None:
    """A launcher that was stopped between its last look and the start of the step starts nothing."""
    with guarded(tmp_path, BEGINS, confirmed_ago_s=LEASE_S) as run:
        told = run.word()

    assert (None, True) == (told["status"], told["lapsed"])
    assert not (tmp_path / "begun").exists()


def test_what_was_frozen_for_too_long_is_killed_at_once(tmp_path: Path) -> None:
    """A guard that is stopped for longer than lease and grace sends KILL when it goes on, without another grace."""
    with guarded(tmp_path, DEAF) as run:
        until((tmp_path / "begun").exists, "the step", 10)
        run.confirm()
        run.process.send_signal(signal.SIGSTOP)
        frozen_until = guard.clock() + LEASE_S + GRACE_S + 0.1
        until(lambda: guard.clock() > frozen_until, "the lease and the grace to be over", 10)
        run.process.send_signal(signal.SIGCONT)
        resumed = guard.clock()
        told = run.word()

    assert (signal.SIGKILL, True) == (told["status"], told["lapsed"])
    assert guard.clock() - resumed < GRACE_S
