"""How does a test go from addresses to the running server, without what a launcher does in between?

`python become.py JSON`: binds, makes the command, executes it. Keys: `server` and `plan` (topics of ServerPlan as
objects), or `argv` and `handover` of a stand-in; `bind`, a list of addresses; `listen`; `mess`: touch everything first.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from launcher.boot.handover import hand_over, remember_signals
from launcher.boot.sockets import close_listeners, open_listeners
from launcher.errors import LauncherError
from launcher.origin import Origin, OriginKind, Sourced
from launcher.servers import Listener, Server, ServerCommand, ServerPlan
from launcher.servers.gunicorn import GunicornServer
from launcher.servers.uvicorn import UvicornServer
from launcher.settings.topics import HttpSettings, LogSettings, PoolSettings

TEST = Origin(OriginKind.COMMAND_LINE, "--test")


def main() -> None:
    """Do it, or say why not and exit with the documented code."""
    original = remember_signals()
    asked = json.loads(sys.argv[1])
    listeners: tuple[Listener, ...] = ()
    kept: tuple[Any, ...] | None = None
    try:
        addresses = [Sourced(text, TEST) for text in asked.get("bind", ())]
        listeners = open_listeners(addresses, listen=asked.get("listen", False), environ=os.environ)
        command = _command(asked, listeners)
        kept = _mess() if asked.get("mess") else None
        hand_over(command, listeners=listeners, environ=os.environ, original=original)
    except LauncherError as error:
        close_listeners(listeners)
        still_ours = kept is not None and signal.getsignal(signal.SIGTERM) is _ignore
        sys.stderr.write(f"{error.message}\n{error.cure}\nstill ours: {still_ours}\n")
        sys.exit(error.exit_code)


def _command(asked: dict[str, Any], listeners: tuple[Listener, ...]) -> ServerCommand:
    if "argv" in asked:
        return ServerCommand(
            argv=tuple(asked["argv"]), environ=asked.get("environ", {}), handover=asked.get("handover")
        )
    server: Server = GunicornServer() if asked["server"] == "gunicorn" else UvicornServer()
    return server.command(make_plan(listeners, asked.get("plan", {})))


def make_plan(listeners: tuple[Listener, ...], changes: dict[str, Any]) -> ServerPlan:
    """Return a plan for `main:app` in the working directory, with `changes` by topic."""
    pool = {name: _sourced(name, value) for name, value in changes.get("pool", {}).items()}
    return ServerPlan(
        app=changes.get("app", "main:app"),
        factory=changes.get("factory", False),
        import_dir=Path(changes.get("import_dir", Path.cwd())),
        workers=changes.get("workers", 1),
        listeners=listeners,
        pool=PoolSettings(**pool),
        http=HttpSettings(**changes.get("http", {})),
        log=LogSettings(**changes.get("log", {})),
        graceful_timeout_s=changes.get("graceful_timeout_s", 5.0),
        drain_delay_s=changes.get("drain_delay_s", 0.0),
        environ=changes.get("environ", dict(os.environ)),
    )


def _sourced(name: str, value: Any) -> Any:
    if name in ("server_args", "reload_dir"):
        return tuple(value)
    return Sourced(value, TEST) if name in ("worker_class", "workers", "server") else value


def _ignore(*_: object) -> None:
    pass


def _mess() -> tuple[Any, ...]:
    """Leave what a boot leaves: handlers, a mask, a wake-up descriptor, inheritable files and sockets."""
    reading, writing = os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, False)
        os.set_inheritable(fd, True)  # noqa: FBT003 - os's signature
    signal.set_wakeup_fd(writing)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(signum, _ignore)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGALRM])
    connection = socket.socketpair()
    connection[0].set_inheritable(True)
    return reading, writing, connection, Path(os.devnull).open()


if __name__ == "__main__":
    main()
