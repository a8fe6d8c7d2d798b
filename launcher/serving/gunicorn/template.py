"""Which process is a preloaded worker forked from?

Not the arbiter: what it imported once it could never import anew, and the kernel would find it larger than any worker
when memory runs out. A template imports the application, forks workers when the arbiter says so, and does nothing
else; a reload makes a new one. Its workers are children of the arbiter: the process in between ends at once, and the
arbiter is the next subreaper (prctl(2), PR_SET_CHILD_SUBREAPER).
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from launcher.errors import LauncherError
from launcher.kernel import be_killed_first, die_with_parent
from launcher.scoreboard import Slot
from launcher.serving import metrics_files
from launcher.serving.evidence import Evidence

if TYPE_CHECKING:
    from launcher.serving.gunicorn.arbiter import LauncherArbiter

_READY = b"ready"
_ANSWER_S = 5.0  # a fork of gigabytes takes tenths of a second; one that takes longer is a template in trouble
_LAST_WORDS_S = 0.5  # for faulthandler to write
_LONGEST = 64  # bytes of a message


class TemplateFailedError(LauncherError):
    """The application could not be imported."""


@dataclass(slots=True)
class Template:
    """The arbiter's side: one process that has the application, or is getting it."""

    pid: int
    socket: socket.socket
    evidence: Evidence
    deadline: float  # of the import; monotonic
    ready: bool = False

    @classmethod
    def start(cls, arbiter: LauncherArbiter, startup_s: float) -> Template:
        """Fork one, which begins to import. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        evidence = Evidence.create()
        if not (pid := os.fork()):
            ours.close()
            _live(arbiter, theirs, evidence)
        theirs.close()
        return cls(pid, ours, evidence, time.monotonic() + startup_s)

    def look(self) -> bool:
        """Tell whether it is ready. Raises TemplateFailedError when it never will be; then it is gone."""
        if self.ready:
            return True
        try:
            message = self.socket.recv(_LONGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if time.monotonic() < self.deadline:
                return False
            self._send(signal.SIGABRT)
            time.sleep(_LAST_WORDS_S)
            raise self._failed("the import of the application took too long") from None
        except OSError:
            message = b""
        if message != _READY:
            raise self._failed("the application could not be imported")
        self.ready = True
        return True

    def fork(self, slot: Slot, evidence: Evidence, age: int) -> int:
        """Have a worker forked; return its pid. Raises OSError."""
        self.socket.settimeout(_ANSWER_S)
        socket.send_fds(self.socket, [f"{slot.index} {age}".encode()], [evidence.fd])
        if not (answer := self.socket.recv(_LONGEST)):
            raise ConnectionResetError("the process with the preloaded application has ended")
        return int(answer)

    def end(self) -> None:
        """Have it ended; its workers live on."""
        self._send(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let go of one that has been reaped."""
        self.socket.close()
        self.evidence.close()

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _failed(self, because: str) -> TemplateFailedError:
        detail = self.evidence.read()
        self.end()
        return TemplateFailedError(because, detail=detail)


def become_subreaper() -> None:
    """Have orphans of our children become ours (Linux): workers, and what applications leave behind."""
    if sys.platform == "linux":
        import ctypes

        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _live(arbiter: LauncherArbiter, requests: socket.socket, evidence: Evidence) -> NoReturn:
    """Be the template until the arbiter closes its end. A worker that was forked from it leaves through here, too."""
    pid, code = os.getpid(), 1
    try:
        _prepare(arbiter, evidence)
        arbiter.app.callable = arbiter.app.import_application()
        gc.collect()
        gc.freeze()  # what is there is nobody's garbage: a collection would only copy its pages
        requests.send(_READY)
        _answer(arbiter, requests)
        code = 0
    except BaseException as error:
        if os.getpid() != pid:
            raise
        evidence.write("".join(traceback.format_exception(error)))
    finally:
        if os.getpid() == pid:
            os._exit(code)
    raise AssertionError("workers leave by an exception")


def _prepare(arbiter: LauncherArbiter, evidence: Evidence) -> None:
    """Become a process that does as the arbiter says, and dies with it."""
    import faulthandler

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)  # sent to the whole group; not SIG_IGN, which programs inherit
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent()
    be_killed_first()
    faulthandler.enable(file=evidence.fd, all_threads=True)
    arbiter.close_in_child()
    metrics_files.use_slot(None)


def _answer(arbiter: LauncherArbiter, requests: socket.socket) -> None:
    """Fork a worker for each message, by way of a process that ends at once: so it is the arbiter's child."""
    while True:
        message, fds, _, _ = socket.recv_fds(requests, _LONGEST, 1)
        if not message:
            return
        index, age = map(int, message.split())
        if between := os.fork():
            os.close(fds[0])
            os.waitpid(between, 0)
            continue
        pid = arbiter.fork_from_template(index, Evidence(fds[0]), age)
        requests.send(str(pid).encode())
        os._exit(0)
