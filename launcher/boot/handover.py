"""How does this process become the server?

By execve in the same process id. Everything we touched is put back first (descriptors, signal dispositions and mask,
the wake-up descriptor, the subreaper flag), and taken up again when the exec fails, so that the caller can report.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from launcher.crossing import PLAN_FD, write_plan
from launcher.errors import LauncherError, ServerNotExecutable, ServerNotFound
from launcher.servers import Listener, ServerCommand

_FIRST_FD = 3  # after stdin, stdout, stderr
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37  # linux/prctl.h
# Python ignores these two at its start, and an ignored signal stays ignored across an exec: subprocess's
# `restore_signals` puts back the same ones. Whether our parent ignored them cannot be known any more.
_IGNORED_BY_PYTHON = tuple(getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name))
# Wait across the exec until `launcher.serving` has handlers: a TERM in between would end us with 143, and PID 1 never.
_HELD = frozenset({int(signal.SIGTERM), int(signal.SIGINT)})
_FOR_US_ONLY = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "GUNICORN_PID", "GUNICORN_FD")

Execve = Callable[[str, tuple[str, ...], Mapping[str, str]], object]


@dataclass(frozen=True, slots=True)
class Original:
    """How this process was started: the signals ignored by our parent, and the signals blocked."""

    ignored: frozenset[int]
    blocked: frozenset[int]


def remember_signals() -> Original:
    """Return the dispositions and the mask of now; call it before the first handler is installed."""
    ignored = (number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return Original(frozenset(map(int, ignored)) - set(_IGNORED_BY_PYTHON), frozenset(map(int, blocked)))


def hand_over(
    command: ServerCommand,
    *,
    listeners: Iterable[Listener],
    inherited: Iterable[int] = (),
    environ: Mapping[str, str],
    original: Original,
    execve: Execve = os.execve,
) -> NoReturn:
    """Execute `command` in this process; only `listeners`, `inherited` and the plan stay open beside 0, 1 and 2.

    Raises ServerNotFound or ServerNotExecutable, with everything as it was before the call.
    """
    with contextlib.ExitStack() as undone:
        kept = [*(listener.fd for listener in listeners), *inherited]
        variables = environment(command, environ)
        held = _HELD - original.blocked if command.handover is not None else frozenset()
        if command.handover is not None:
            plan_fd = write_plan({**command.handover, "held_signals": sorted(held)})
            undone.callback(os.close, plan_fd)
            kept.append(plan_fd)
            variables[PLAN_FD] = str(plan_fd)
        _ready_to_listen(listeners)
        undone.enter_context(_only_inheritable(kept))
        undone.enter_context(_without_subreaper())
        _flush()
        undone.enter_context(_signals_as_at_start(original, held))
        raise _execute(command.argv, variables, execve)


def environment(command: ServerCommand, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment: ours with the command's changes, without what was addressed to this process."""
    variables: dict[str, str | None] = dict(environ)
    variables |= dict.fromkeys((*_FOR_US_ONLY, PLAN_FD), None)
    variables |= command.environ
    return {name: value for name, value in variables.items() if value is not None}


def _execute(argv: tuple[str, ...], variables: Mapping[str, str], execve: Execve) -> LauncherError:
    """Try each place where the program can be; return what the last attempt that says something said."""
    refused: OSError | None = None
    for path in _places(argv[0], variables):
        try:
            execve(path, argv, variables)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused = error
    if refused is None:
        return ServerNotFound(f"{argv[0]} is not there", cure="install it in the environment of the launcher")
    return ServerNotExecutable(f"{argv[0]} could not be executed: {refused.strerror}")


def _places(program: str, variables: Mapping[str, str]) -> list[str]:
    """Return the paths to try, as execvp does: a name without a slash is looked up on PATH."""
    if "/" in program:
        return [program]
    folders = variables.get("PATH", os.defpath).split(os.pathsep)
    return [os.path.join(folder or ".", program) for folder in folders]  # noqa: PTH118 - `./x`, which Path would shorten


@contextlib.contextmanager
def _only_inheritable(kept: Iterable[int]) -> Iterator[None]:
    """Let only `kept` and 0-2 cross the exec. Nothing is closed: a failed exec must leave us whole."""
    wanted = set(kept)
    before = {fd: _inheritable(fd) for fd in open_descriptors()}
    for fd in before:
        _set_inheritable(fd, wanted=fd in wanted)
    try:
        yield
    finally:
        for fd, was in before.items():
            _set_inheritable(fd, wanted=was)


def open_descriptors() -> list[int]:
    """Return the numbers of our open descriptors from 3 up."""
    folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    return sorted(int(name) for name in os.listdir(folder) if int(name) >= _FIRST_FD)  # noqa: PTH208 - names, no paths


def _inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # the folder that was being listed
        return False


def _set_inheritable(fd: int, *, wanted: bool) -> None:
    with contextlib.suppress(OSError):
        os.set_inheritable(fd, wanted)


def _ready_to_listen(listeners: Iterable[Listener]) -> None:
    """Give SO_REUSEADDR back: `sockets.py` took it so that nobody could bind beside us, and listen needs it.

    Without it `listen` fails while connections of the server before us are in TIME_WAIT.
    """
    for listener in listeners:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(listener.fd)) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


@contextlib.contextmanager
def _signals_as_at_start(original: Original, held: frozenset[int]) -> Iterator[None]:
    wakeup = signal.set_wakeup_fd(-1)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = _put_back(original)
    signal.pthread_sigmask(signal.SIG_SETMASK, original.blocked | held)
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.set_wakeup_fd(wakeup)


def _put_back(original: Original) -> dict[int, Any]:
    """Ignore what was ignored at our start, take the default for the rest; return what there was."""
    handlers: dict[int, Any] = {}
    for signum in signal.valid_signals():
        now = signal.getsignal(signum)
        wanted = signal.SIG_IGN if signum in original.ignored else signal.SIG_DFL
        if now is not None and now is not wanted:  # None: not installed from Python (faulthandler's)
            with contextlib.suppress(OSError, ValueError):
                handlers[signum] = signal.signal(signum, wanted)
    return handlers


@contextlib.contextmanager
def _without_subreaper() -> Iterator[None]:
    """The flag would cross the exec. Only ctypes can have set it: where that was not loaded there is nothing to do."""
    if sys.platform != "linux" or (ctypes := sys.modules.get("ctypes")) is None:
        yield
        return
    prctl, flag = ctypes.CDLL(None).prctl, ctypes.c_int()
    prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0)
    prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, flag.value, 0, 0, 0)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None under pythonw
            stream.flush()
