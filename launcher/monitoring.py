"""Who keeps the monitor running?

First boot, then the server it becomes: the same process, so that the monitor stays its child. Whichever it is starts
another one when the monitor has died, with the same descriptors, so that no probe is refused meanwhile. If it cannot
be started everything else goes on without it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.crossing import PLAN_FD, write_plan
from launcher.log import log

_FIRST_S, _LONGEST_S = 0.2, 30.0  # between two starts
_HEALTHY_S = 60.0  # a life of this length, and the next pause is the first again
_DESCRIPTORS = ("board", "channel", "unix")


@dataclass(slots=True)
class Keeper:
    """The one who starts it.

    plan: what the monitor reads; `board`, `channel`, `unix` and the list `tcp` in it are descriptors of this process.
    environ: the monitor's; nothing of the application's secrets has to be in it.
    """

    plan: Mapping[str, Any]
    environ: Mapping[str, str]
    clock: Callable[[], float] = time.monotonic
    pid: int | None = None
    _started: float = 0.0
    _due: float = 0.0
    _pause: float = _FIRST_S
    _deaths: int = field(default=0)

    def look(self) -> None:
        """Start it if it does not run and its time has come. Never raises."""
        if self.pid is None and self.clock() >= self._due:
            try:
                self._start()
            except OSError as error:
                self._put_off()
                log.warning("launcher.monitor_failed", because=str(error), again_in_s=round(self._pause, 1))

    @property
    def due_in_s(self) -> float | None:
        """Return in how many seconds `look` has something to do; None: it runs."""
        return None if self.pid is not None else max(0.0, self._due - self.clock())

    def ended(self, pid: int, status: int) -> bool:
        """Take note of a child that was reaped; tell whether it was the monitor."""
        if pid != self.pid:
            return False
        self.pid = None
        if self.clock() - self._started >= _HEALTHY_S:
            self._pause = _FIRST_S
        self._put_off()
        how = os.waitstatus_to_exitcode(status)
        log.warning("launcher.monitor_failed", because=f"it ended with {how}", again_in_s=round(self._pause, 1))
        return True

    def descriptors(self) -> list[int]:
        """Return the descriptors of this process that the monitor gets."""
        named = [self.plan[name] for name in _DESCRIPTORS if self.plan.get(name) is not None]
        return [*named, *self.plan.get("tcp", ())]

    def stop(self) -> None:
        """End it: nobody is to keep it any more."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.pid = None

    def _put_off(self) -> None:
        self._due = self.clock() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_S)

    def _start(self) -> None:
        plan = write_plan({**self.plan, "parent": os.getpid()})
        try:
            self.pid = _spawn(
                (sys.executable, "-P", "-m", "launcher.monitor"),
                {**self.environ, PLAN_FD: str(plan)},
                (plan, *self.descriptors()),
            )
        finally:
            os.close(plan)
        self._started = self.clock()


def _spawn(argv: tuple[str, ...], environ: Mapping[str, str], fds: Sequence[int]) -> int:
    """Start a program in a session of its own with these descriptors, under the same numbers; return its pid."""
    import signal

    # dup2 onto itself clears close-on-exec in the child, and only there (POSIX, posix_spawn_file_actions_adddup2).
    actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds]
    stdin = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    return os.posix_spawn(
        argv[0],
        argv,
        environ,
        file_actions=[*stdin, *actions],
        setsid=True,
        setsigmask=(),
        setsigdef=[number for number in signal.valid_signals() if number not in _UNCATCHABLE],
    )


_UNCATCHABLE = frozenset({9, 19})
