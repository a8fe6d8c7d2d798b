"""Does the live table end as it should, and leave the terminal as it was?"""

from __future__ import annotations

import os
import pty
import signal
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from support.stand_ins import Host
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.spawning import Launch, Spawner


@pytest.fixture
def host(spawn: Spawner, launch: Launch, tmp_path: Path) -> Host:
    """Return a host where nothing runs."""
    return Host(spawn, launch, tmp_path)


@pytest.mark.parametrize("key", ["q", "\x03", "TERM", "end"])
def test_watching(host: Host, key: str) -> None:
    """The live table ends with q, Ctrl+C, TERM or with the launcher, and leaves the terminal as it was."""
    started = host.stand_in(status={"workers": [{"pid": 4242, "slot": 0, "stage": "ready"}]})
    pid, terminal = pty.fork()
    if pid == 0:
        argv = [sys.executable, "-m", "launcher", "status", "--watch"]
        os.execve(argv[0], argv, {**host.env, "TERM": "xterm"})
    before = termios.tcgetattr(terminal)
    screen = Screen(terminal)
    try:
        until(lambda: screen.read().count("4242") >= 2, "two looks", 20)
        during = termios.tcgetattr(terminal)
        if key == "TERM":
            os.kill(pid, signal.SIGTERM)
        elif key == "end":
            started.signal(signal.SIGKILL)
        else:
            os.write(terminal, key.encode())
        code = exit_code(pid, screen)
        after = termios.tcgetattr(terminal)
    finally:
        os.close(terminal)

    assert {"q": 0, "\x03": 0, "TERM": 143, "end": 1}[key] == code
    assert before != during
    assert before == after
    assert "has ended" in screen.text or key != "end"


class Screen:
    """What a terminal was told to show."""

    def __init__(self, terminal: int) -> None:
        """Read from the other side."""
        self._terminal, self.text = terminal, ""
        os.set_blocking(terminal, False)

    def read(self) -> str:
        """Return all there was until now."""
        try:
            while piece := os.read(self._terminal, 65536):
                self.text += piece.decode(errors="replace")
        except OSError:  # nothing there, or nobody any more
            pass
        return self.text


def exit_code(pid: int, screen: Screen) -> int:
    """Return it when the child has ended, which it could not while nobody reads what it writes."""

    def look() -> list[int]:
        screen.read()
        done, status = os.waitpid(pid, os.WNOHANG)
        return [status] if done else []

    return os.waitstatus_to_exitcode(until(look, "its end", 20)[0])
