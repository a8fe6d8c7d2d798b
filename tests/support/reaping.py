"""Which processes of a test still live, and how do they go?

A launched process leads a session of its own, and everything it starts inherits the mark in its environment. So what
left the session (a daemon) is found by the mark, and what dropped the environment is found by the session.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import psutil

from support.environment import MARK
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Collection


def alive(sessions: Collection[int], mark: str) -> list[psutil.Process]:
    """Return the running processes (no zombies) of these sessions or with this mark in their environment."""
    return [process for process in psutil.process_iter() if _belongs(process, sessions, mark)]


def kill_all(sessions: Collection[int], mark: str, timeout_s: float = 10) -> None:
    """Kill until nothing is left: what is killed may just have forked."""

    def none_left() -> bool:
        left = alive(sessions, mark)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        return not left

    until(none_left, "the end of every process of the test after SIGKILL", timeout_s)


def describe(process: psutil.Process) -> str:
    """Return pid and command line, as far as they can still be read."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())}"
    return f"{process.pid} (gone)"


def _belongs(process: psutil.Process, sessions: Collection[int], mark: str) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return os.getsid(process.pid) in sessions or process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False  # gone meanwhile, or another user's
