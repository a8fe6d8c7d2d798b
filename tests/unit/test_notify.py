"""Does systemd hear what it has to, and nothing that hurts us?"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from launcher.notify import Notifier, take

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOT_SYSTEMD = [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}, {"NOTIFY_SOCKET": "/nothing/here"}]


class Clock:
    """A clock that a test turns."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.socket.setblocking(False)  # noqa: FBT003 - its only signature
        self.environ = {"NOTIFY_SOCKET": address}

    def heard(self) -> list[list[str]]:
        """Return the lines of each message until now."""
        messages: list[list[str]] = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().splitlines())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    """Return systemd's end, at a path and in the abstract namespace."""
    end = Systemd(str(tmp_path / "notify") if request.param == "path" else f"@launcher-test-{os.getpid()}")
    yield end
    end.socket.close()


def test_every_word(systemd: Systemd) -> None:
    """Each method sends one message of the lines that sd_notify(3) documents."""
    clock = Clock()
    notifier = Notifier(systemd.environ, clock)
    notifier.extend(60, "step migrate")
    notifier.status("two\nlines")
    notifier.ready("2 workers")
    notifier.reloading()
    notifier.stopping("draining")
    notifier.close()

    assert notifier.active
    assert [
        ["EXTEND_TIMEOUT_USEC=60000000", "STATUS=step migrate"],
        ["STATUS=two lines"],
        ["READY=1", "STATUS=2 workers"],
        ["RELOADING=1", "MONOTONIC_USEC=100000000"],
        ["STOPPING=1", "STATUS=draining"],
    ] == systemd.heard()


@pytest.mark.parametrize("environ", NOT_SYSTEMD, ids=str)
def test_nobody_there(environ: dict[str, str]) -> None:
    """Without a socket, or with one that is gone or of another kind, nothing happens."""
    notifier = Notifier(environ | {"WATCHDOG_USEC": "1000"})
    notifier.ready()
    notifier.extend(1)
    notifier.watchdog()
    notifier.stopping()
    notifier.close()

    assert ("/nothing/here" in environ.values()) == notifier.active


def test_the_watchdog_is_told_at_half_its_time(systemd: Systemd) -> None:
    """WATCHDOG=1 is sent at once and then whenever half of the time has passed, and never in between."""
    clock = Clock()
    notifier = Notifier(systemd.environ | {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}, clock)
    due = [notifier.watchdog()]
    for now in (101.0, 102.5, 103.0, 104.5):
        clock.now = now
        due.append(notifier.watchdog())
    notifier.close()

    assert [102.0, 102.0, 104.5, 104.5, 106.5] == due
    assert [["WATCHDOG=1"]] * 3 == systemd.heard()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "-4"}],
    ids=str,
)
def test_no_watchdog(systemd: Systemd, environ: dict[str, str]) -> None:
    """No watchdog, or another process's, is told nothing."""
    notifier = Notifier(systemd.environ | environ)

    assert notifier.watchdog() is None
    assert [] == systemd.heard()


def test_a_full_queue_never_blocks(systemd: Systemd) -> None:
    """What cannot be delivered is dropped, but for the states: they come with the next word that goes through."""
    notifier = Notifier(systemd.environ)
    before = time.monotonic()
    for number in range(2000):
        notifier.status(f"status {number}")
    notifier.ready("up")
    took_s = time.monotonic() - before
    dropped = systemd.heard()
    notifier.status("later")
    notifier.close()

    assert ["READY=1", "STATUS=up"] not in dropped
    assert [["READY=1", "STATUS=up"], ["STATUS=later"]] == systemd.heard()
    assert took_s < 2


def test_taking_removes_the_variables(systemd: Systemd) -> None:
    """Whoever takes the notifier leaves nothing of it to children and to the server's own code."""
    environ = systemd.environ | {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    notifier = take(environ)
    notifier.ready()
    due = notifier.watchdog()
    notifier.close()

    assert {"PATH": "/bin"} == environ
    assert due is not None
    assert [["READY=1"], ["WATCHDOG=1"]] == systemd.heard()
