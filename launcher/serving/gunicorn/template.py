"""Which process is a preloaded worker forked from?

Not the arbiter: what it imported once it could never import anew, and the kernel would find it larger than any worker
when memory runs out. A template imports the application, forks workers when the arbiter says so, and does nothing
else (`template_process`); a reload makes a new one. Its workers are children of the arbiter: the process in between
ends at once, and the arbiter is the next subreaper (prctl(2), PR_SET_CHILD_SUBREAPER). This is the arbiter's side.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import LauncherError
from launcher.scoreboard import Slot
from launcher.serving.evidence import Evidence
from launcher.serving.gunicorn.template_process import FAILED, LONGEST, READY, REFUSED, live
from launcher.serving.pool.deaths import ending

if TYPE_CHECKING:
    from launcher.serving.gunicorn.arbiter import LauncherArbiter

_ANSWER_S = 5.0  # a fork of gigabytes takes tenths of a second; one that takes longer is a template in trouble
_LAST_WORDS_S = 0.5  # for faulthandler to write
_TOO_LONG = "the import of the application took too long"


class TemplateFailedError(LauncherError):
    """The application could not be imported."""


@dataclass(slots=True)
class Template:
    """One process that has the application, or is getting it.

    deadline: of the import; monotonic.
    gone: whether it has been reaped, with this wait status; its pid may be anybody's.
    """

    pid: int
    socket: socket.socket
    evidence: Evidence
    deadline: float
    ready: bool = False
    gone: bool = False
    status: int = 0
    _aborted: float | None = None  # when it was told to write its stacks and end
    _lost: float | None = None  # since when it does not hold its end of the socket any more

    @classmethod
    def start(cls, arbiter: LauncherArbiter, startup_s: float) -> Template:
        """Fork one, which begins to import. Raises OSError."""
        with contextlib.ExitStack() as opened:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            opened.callback(ours.close)
            opened.callback(theirs.close)
            evidence = Evidence.create()
            opened.callback(evidence.close)
            pid = os.fork()
            opened.pop_all()
        if not pid:
            live(arbiter, ours, theirs, evidence)
        theirs.close()
        return cls(pid, ours, evidence, time.monotonic() + startup_s)

    def look(self) -> bool:
        """Tell whether it is ready. Raises TemplateFailedError when it never will be; then it is over."""
        if self.ready:
            return True
        try:
            message = self.socket.recv(LONGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if not self.gone:
                return self._wait()
            message = b""
        except OSError:
            message = b""
        if not (message or self.gone or self._has_had_time()):
            return False
        if message != READY or self.gone or self._aborted is not None:
            raise self._failed("the application could not be imported" if self._aborted is None else _TOO_LONG)
        self.ready = True
        return True

    def _has_had_time(self) -> bool:
        """Tell whether it lost its socket long ago: one that has ended is reaped in a moment, and how is known then."""
        now = time.monotonic()
        self._lost = now if self._lost is None else self._lost
        return now - self._lost >= _LAST_WORDS_S

    def fork(self, slot: Slot, evidence: Evidence, age: int) -> int:
        """Have a worker forked; return its pid.

        age: what number of worker this is. An answer to another question is not taken, and its worker, whose slot does
            not have its pid, ends by itself.
        Raises TimeoutError or ConnectionError when this template is of no use any more, another OSError when it or a
        hook of the user's would not fork this worker.
        """
        if not self.ready or self.gone:
            raise OSError("the application is not imported yet")
        until = time.monotonic() + _ANSWER_S
        self.socket.settimeout(_ANSWER_S)
        socket.send_fds(self.socket, [f"{slot.index} {age}".encode()], [evidence.fd])
        number, answer = 0, ""
        while number != age:
            number, answer = self._answer(until)
        if answer.startswith(REFUSED):
            raise OSError(answer.removeprefix(REFUSED))
        return int(answer)

    def end(self) -> None:
        """Have it ended; its workers live on."""
        self._send(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let go of one that has been reaped."""
        self.socket.close()
        self.evidence.close()

    def _wait(self) -> bool:
        """Go on waiting for the import until it has had its time, and then for its last words."""
        now = time.monotonic()
        if self._aborted is not None and now >= self._aborted + _LAST_WORDS_S:
            raise self._failed(_TOO_LONG)
        if self._aborted is None and now >= self.deadline:
            self._aborted = now
            self._send(signal.SIGABRT)
        return False

    def _answer(self, until: float) -> tuple[int, str]:
        self.socket.settimeout(max(until - time.monotonic(), 0.001))
        try:
            answer = self.socket.recv(LONGEST)
        except TimeoutError:
            raise TimeoutError("the process with the preloaded application does not answer") from None
        if not answer:
            raise ConnectionResetError("the process with the preloaded application has ended")
        number, _, text = answer.decode(errors="replace").partition(" ")
        return int(number), text

    def _send(self, number: int) -> None:
        if not self.gone:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def _failed(self, because: str) -> TemplateFailedError:
        detail = self.evidence.read()
        has_said_why = bool(detail) and self.status == FAILED << 8
        if self.gone and self._aborted is None and not has_said_why:
            how = " ".join(str(word) for pair in ending(self.status).items() for word in pair)
            because = f"{because}: the process that did so ended with {how}"
        self.end()
        return TemplateFailedError(because, detail=detail)


def become_subreaper() -> None:
    """Have orphans of our children become ours: workers, and what applications leave behind.

    Raises TemplateFailedError where the kernel has no such thing.
    """
    if sys.platform != "linux":
        raise TemplateFailedError("an application can be preloaded on Linux only", cure="leave preload out")
    import ctypes

    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
