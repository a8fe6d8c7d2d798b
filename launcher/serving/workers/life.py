"""What does a worker owe its pool?

To say how far it is, to leave when the pool asks and not when anybody signals, to die with its arbiter, and to write
down what it dies of. Neutral: nothing in here knows which server the worker runs.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from launcher.errors import ExitCode
from launcher.kernel import be_killed_first, die_with_parent
from launcher.log import WORKER_PATIENCE_S, be_patient
from launcher.scoreboard import Slot, Stage
from launcher.serving.evidence import Evidence
from launcher.serving.rules import Rules
from launcher.serving.workers.boot_errors import BootErrors
from launcher.serving.workers.stacks import write_stacks

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

# Asks for the stacks of asyncio tasks.
STACKS: int
if sys.platform == "darwin":
    STACKS = signal.SIGINFO  # there are no real-time signals; this one is ignored by default
else:
    STACKS = signal.SIGRTMAX - 1
# Sent to the whole group by terminals, Heroku and systemd's default KillMode. None is set to SIG_IGN, which programs
# that an application starts would inherit.
GUARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

current: Life | None = None  # this process's, once it is a worker


@dataclass(slots=True)
class Life:
    """A worker's side of the pool.

    lifeline: an end of a pipe whose other end only the arbiter has; kept open, and read by nobody as long as `obey`
        can ask who the parent is.
    loop: the event loop, once there is one.
    """

    slot: Slot
    evidence: Evidence
    arbiter_pid: int
    lifeline: int | None
    rules: Rules
    loop: asyncio.AbstractEventLoop | None = None
    errors: BootErrors = field(init=False)

    def __post_init__(self) -> None:
        self.errors = BootErrors(self.evidence)

    def begin(self) -> None:
        """Become a worker: the first thing to do in the child."""
        global current  # noqa: PLW0603 - one process is one worker; the server's classes have no other way to find it
        current = self
        atexit.register(_be_deaf)
        self.slot.pid = os.getpid()
        be_patient(WORKER_PATIENCE_S)
        be_killed_first()
        self.errors.install()
        self.again()
        self.slot.stage = Stage.IMPORTING

    def again(self) -> None:
        """Put back what a change of user (PDEATHSIG) and a server's own handlers (SIGABRT, TERM) have taken away."""
        die_with_parent()
        if self.orphaned:  # before, the kernel did not know that we wanted to die, too
            os._exit(ExitCode.BUG)
        self._take_faults()
        signal.signal(STACKS, self._write_stacks)
        for number in GUARDED:
            signal.signal(number, self._guard)

    @property
    def orphaned(self) -> bool:
        """Whether the arbiter is gone."""
        return os.getppid() != self.arbiter_pid

    @property
    def hurried(self) -> bool:
        """Whether the arbiter wants it to leave quickly, without waiting for anybody."""
        return self.slot.asked > 1

    def obey(self) -> bool:
        """Tell whether to leave: because the arbiter asks, or is gone."""
        return bool(self.slot.asked) or self.orphaned

    def lifespan(self) -> None:
        """Say that the application's lifespan starts in the loop that is running now."""
        import asyncio

        self.loop = asyncio.get_running_loop()
        self._take_faults()
        self.slot.stage = Stage.LIFESPAN

    def ready(self) -> None:
        """Say that it serves; errors go to the log from now on."""
        self.errors.give_back()
        self._take_faults()
        self.slot.stage = Stage.READY

    def draining(self) -> None:
        """Say that it is leaving."""
        self.errors.remove()
        self.slot.stage = Stage.DRAINING

    @contextlib.contextmanager
    def booting(self) -> Iterator[None]:
        """Turn every way in which a boot can fail into `boot_failed`; leaving because we were asked to is exit code 0.

        What happens to a worker that is ready already is let through, and so is the end of the event loop.
        """
        from asyncio import CancelledError

        try:
            yield
        except (CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            if self.slot.stage >= Stage.READY:
                raise
            if self.obey():
                sys.exit(ExitCode.OK)
            self._explain(error)

    def boot_failed(self, error: BaseException | str) -> NoReturn:
        """Write down why, and leave with exit code 3."""
        self.errors.write(error)
        sys.exit(ExitCode.NEVER_READY)

    def _explain(self, error: BaseException) -> NoReturn:
        if not isinstance(error, SystemExit):
            self.boot_failed(error)
        if not self.errors.said:  # otherwise the server has said why, and this is how it leaves
            self.errors.write(error)
            self.boot_failed(f"the application called sys.exit({error.code!r})")
        sys.exit(ExitCode.NEVER_READY)

    def _take_faults(self) -> None:
        """Have the last words in the evidence: an application may have called faulthandler.enable() for stderr."""
        import faulthandler

        faulthandler.disable()  # alone, a second enable() would not take SIGABRT back
        faulthandler.enable(file=self.evidence.fd, all_threads=True)

    def _guard(self, *_: object) -> None:
        """Leave a boot when asked; otherwise do nothing. A worker that serves looks at `asked` ten times a second."""
        if self.slot.stage < Stage.READY and self.obey():
            sys.exit(ExitCode.OK)

    def _write_stacks(self, _: int, frame: FrameType | None) -> None:
        write_stacks(self.evidence.write, self.loop, frame)


def _be_deaf() -> None:
    """Ignore signals from now on: the interpreter's end puts Python's handlers back to the defaults, which kill."""
    for number in (*GUARDED, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
