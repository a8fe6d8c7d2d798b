"""What does the process do that preloaded workers are forked from?

It imports the application, and for each message of the arbiter's it has a process fork a worker and end at once. All of
them are copies of the arbiter, with its calls on their stacks: none may ever go on as one. So nothing leaves `live`
but the SystemExit of a worker that ends.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import gc
import os
import signal
import socket
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from launcher.errors import ExitCode
from launcher.kernel import be_killed_first, die_with_parent
from launcher.serving import metrics_files
from launcher.serving.evidence import Evidence
from launcher.serving.fork_safety import Before, UnsafeForkError

if TYPE_CHECKING:
    from launcher.serving.gunicorn.arbiter import LauncherArbiter

READY = b"ready"
FAILED = 1  # the code with which it ends after it has said why
REFUSED = "!"  # what an answer that is no pid begins with
LONGEST = 1024  # bytes of a message
_LONGEST_REASON = 200  # characters, of four bytes at most


def live(arbiter: LauncherArbiter, theirs: socket.socket, requests: socket.socket, evidence: Evidence) -> NoReturn:
    """Be the template until the arbiter closes its end, `theirs`. Workers that are forked from it leave through here.

    A message is `SLOT NUMBER`, with the worker's evidence; its answer `NUMBER PID` or `NUMBER !REASON`.
    """
    pid, code = os.getpid(), FAILED

    def release() -> None:
        requests.close()  # were it kept, the arbiter would not see that the template has ended
        evidence.close()

    try:
        theirs.close()
        _prepare(arbiter, evidence)
        before = Before.now()
        arbiter.app.callable = arbiter.app.import_application()
        before.check()
        gc.collect()
        gc.freeze()  # what is there is nobody's garbage: a collection would only copy its pages
        requests.send(READY)
        _answer(arbiter, requests, release)
        code = 0
    except BaseException as error:
        if os.getpid() == pid:
            ours = isinstance(error, UnsafeForkError)
            evidence.write(str(error) if ours else "".join(traceback.format_exception(error)))
        elif isinstance(error, SystemExit):
            raise
    finally:
        if os.getpid() == pid:
            os._exit(code)
    os._exit(ExitCode.NEVER_READY)  # a worker, and there is no other way out for it


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


def _answer(arbiter: LauncherArbiter, requests: socket.socket, release: Callable[[], None]) -> None:
    """Fork a worker for each message."""
    while True:
        message, fds, _, _ = socket.recv_fds(requests, LONGEST, 1)
        if not message:
            return
        index, age = map(int, message.split())
        _go_between(lambda: arbiter.fork_from_template(index, Evidence(fds[0]), age, release), requests, age)  # noqa: B023 - called at once
        for fd in fds:
            os.close(fd)


def _go_between(fork: Callable[[], int], requests: socket.socket, age: int) -> None:
    """Have a process fork a worker and end at once: so it is the arbiter's child."""
    try:
        between = os.fork()
    except OSError as error:  # too many processes
        _tell(requests, age, _reason(error))
        return
    if not between:
        _tell_of(fork, requests, age)
    if status := os.waitpid(between, 0)[1]:
        _tell(requests, age, f"{REFUSED}what was to fork the worker ended with wait status {status}")


def _tell_of(fork: Callable[[], int], requests: socket.socket, age: int) -> None:
    """Be the process in between: fork a worker, say how that went, and end. Raises only in the worker."""
    me, code = os.getpid(), 1
    try:
        die_with_parent()  # a hook that hangs ends with the template
        _tell(requests, age, str(fork()))
        code = 0
    except BaseException as error:
        if os.getpid() != me:
            raise
        _tell(requests, age, _reason(error))
        code = 0
    finally:
        if os.getpid() == me:
            os._exit(code)


def _reason(error: BaseException) -> str:
    return f"{REFUSED}{type(error).__name__}: {error}"[:_LONGEST_REASON]


def _tell(requests: socket.socket, age: int, answer: str) -> None:
    requests.send(f"{age} {answer}".encode(errors="backslashreplace"))
