"""Does systemd hear from the launcher what takes so long before the server starts?

The test is systemd's end: a datagram socket whose path is in NOTIFY_SOCKET.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from support.commands import serving
from support.serving import APP
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.projects import MakeProject
    from support.spawning import Launch

WAITS = """
[[prestart]]
name = "slow"
run = "env > step.environ; while [ ! -e go ]; do sleep 0.1; done"
"""
EXTENDS = "EXTEND_TIMEOUT_USEC=60000000"


class Systemd:
    """What systemd has received, message by message."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)  # noqa: FBT003 - its only signature
        self.environ = {"NOTIFY_SOCKET": str(path)}
        self.messages: list[str] = []

    def hears(self, *words: str) -> Callable[[], int]:
        """Return a condition: how many messages with all these words have come."""

        def count() -> int:
            while True:
                try:
                    self.messages.append("\n" + self.socket.recv(4096).decode())
                except BlockingIOError:
                    break
            return sum(all(f"\n{word}" in message for word in words) for message in self.messages)

        return count


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Return systemd's end of the socket."""
    end = Systemd(tmp_path / "notify")
    yield end
    end.socket.close()


def test_a_step_asks_for_time(launch: Launch, project: MakeProject, systemd: Systemd) -> None:
    """During a step more time is asked for again and again, its name is the status, and the step knows no socket."""
    folder = project({"launcher.toml": WAITS})
    launched = launch("prestart", "--release", "r1", cwd=folder, env=systemd.environ)
    until(systemd.hears(EXTENDS, "STATUS=step slow, for up to 10m"), "the first word", 20)
    until(lambda: systemd.hears(EXTENDS, "STATUS=step slow")() >= 2, "the next", 20)
    (folder / "go").touch()

    assert 0 == launched.wait(), str(launched)
    assert "NOTIFY_SOCKET" not in (folder / "step.environ").read_text()
    assert 0 == systemd.hears("READY")()


def test_a_waiter_says_for_whom(launch: Launch, project: MakeProject, systemd: Systemd) -> None:
    """While somebody else has the lock the status names the holder."""
    folder = project({"launcher.toml": WAITS})
    holder = launch("prestart", "--release", "r1", "--log-format", "json", cwd=folder)
    holder.wait_event("launcher.step_started")
    waiter = launch("prestart", "--release", "r1", cwd=folder, env=systemd.environ)
    until(systemd.hears(EXTENDS, "STATUS=waiting for the lock"), "the waiter's word", 20)
    (folder / "go").touch()

    assert [0, 0] == [holder.wait(), waiter.wait()]
    assert any(f"pid {holder.pid}" in message for message in systemd.messages)


def test_the_watchdog_of_a_simple_unit(launch: Launch, project: MakeProject, systemd: Systemd) -> None:
    """With Type=simple the watchdog counts from the start, so it is told during the steps too."""
    folder = project({"launcher.toml": WAITS})
    launched = launch("prestart", "--release", "r1", cwd=folder, env={**systemd.environ, "WATCHDOG_USEC": "600000"})
    until(lambda: systemd.hears("WATCHDOG=1")() >= 8, "the watchdog's words", 20)
    (folder / "go").touch()

    assert 0 == launched.wait(), str(launched)


def test_nothing_to_do_says_nothing(launch: Launch, project: MakeProject, systemd: Systemd) -> None:
    """A start without steps has nothing to ask time for; the variable is there for the server after the exec."""
    port = free_port()
    folder = project({"main.py": APP})
    words = ("--port", str(port), "--workers", "1", "--plain", "--server", "uvicorn")
    launched = launch("run", *words, cwd=folder, env=systemd.environ)
    environ = serving(launched, port)["environ"]

    assert systemd.environ["NOTIFY_SOCKET"] == environ["NOTIFY_SOCKET"]
    assert 0 == systemd.hears()()
