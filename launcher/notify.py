"""What does systemd get to know?

sd_notify(3) without the library: a datagram of `NAME=value` lines to the socket in NOTIFY_SOCKET. Boot and arbiter are
one process, so `NotifyAccess=main` holds on both sides of the exec; nobody below them gets the variables.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping

NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_USEC = 1_000_000
_LONGEST_STATUS = 500  # characters: one line of `systemctl status`
_KEPT = 4  # states that a full socket did not take and that must not be lost: READY, RELOADING, STOPPING


def take(environ: MutableMapping[str, str] = os.environ) -> Notifier:
    """Return the notifier and remove its variables: gunicorn would say READY too early, children would inherit them."""
    found = {name: value for name in NAMES if (value := environ.pop(name, None)) is not None}
    return Notifier(found)


class Notifier:
    """Our side of NOTIFY_SOCKET. Without one every method does nothing; none raises or blocks."""

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        """Take a path, or a name in the abstract namespace that begins with `@` or NUL; other families are passed over.

        `clock` has to be CLOCK_MONOTONIC, which systemd compares RELOADING's time with; seconds.
        """
        self._clock = clock
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self._unsent: list[str] = []
        self._interval_s = _watchdog_s(environ) / 2 if self._address else 0.0
        self._due = clock()

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Say that the service is up, or that a reload is over."""
        self._say(["READY=1", *_status(status)], keep=True)

    def status(self, text: str) -> None:
        """Say in one line what is being done: `systemctl status` shows it."""
        self._say(_status(text))

    def reloading(self, status: str = "") -> None:
        """Say that a reload begins; `ready` ends it."""
        now = f"MONOTONIC_USEC={int(self._clock() * _USEC)}"  # asked for by Type=notify-reload (systemd.service(5))
        self._say(["RELOADING=1", now, *_status(status)], keep=True)

    def stopping(self, status: str = "") -> None:
        """Say that the end begins."""
        self._say(["STOPPING=1", *_status(status)], keep=True)

    def extend(self, seconds: float, status: str = "") -> None:
        """Ask for so much more time for what is under way (start, stop, runtime), counted from now."""
        self._say([f"EXTEND_TIMEOUT_USEC={int(seconds * _USEC)}", *_status(status)])

    def watchdog(self) -> float | None:
        """Say that we live when half of WatchdogSec has passed; return the instant of `clock` when it is due again.

        None: there is no watchdog.
        """
        if not self._interval_s:
            return None
        now = self._clock()
        if now >= self._due:
            self._due = now + self._interval_s
            self._say(["WATCHDOG=1"])
        return self._due

    def close(self) -> None:
        """Let the socket go; the next message opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, lines: list[str], *, keep: bool = False) -> None:
        if not self._address or not lines:
            return
        message = "\n".join(lines)
        try:
            for earlier in (*self._unsent, message):
                self._send(earlier)
                self._unsent = self._unsent[1:]
        except OSError:
            self.close()  # systemd was restarted, or has a full queue
            if keep:
                self._unsent = [*self._unsent, message][-_KEPT:]

    def _send(self, message: str) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # noqa: FBT003 - its only signature
        self._socket.sendto(message.encode(errors="replace"), self._address)


def _address(text: str) -> str:
    if not hasattr(socket, "AF_UNIX") or not text.startswith(("/", "@")):
        return ""  # vsock: from a virtual machine's host
    return f"\0{text[1:]}" if text.startswith("@") else text


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """Return WatchdogSec; 0 when there is none, or when it is another process's (sd_watchdog_enabled(3))."""
    with contextlib.suppress(ValueError):
        if int(environ.get("WATCHDOG_PID") or os.getpid()) == os.getpid():
            return max(0, int(environ.get("WATCHDOG_USEC") or 0)) / _USEC
    return 0.0


def _status(text: str) -> list[str]:
    line = " ".join(text.split())[:_LONGEST_STATUS]
    return [f"STATUS={line}"] if line else []
