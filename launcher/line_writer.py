"""How is a line written to who may not read?

stderr is often a pipe or a socket. Once it is full, a write(2) lasts until somebody reads: an arbiter in it obeys no
signal, an event loop in it answers nobody. So a line waits for a moment and is dropped then; how many were is said as
soon as lines get through again. The file description is shared with the application and with whoever started us, so
O_NONBLOCK is set on one of our own.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_PIPE_BUF = select.PIPE_BUF  # what a pipe with room takes at once (pipe(7))


class LineWriter:
    """Writes to a descriptor, whatever it is.

    patience_s: how long a line waits for room. After one that waited in vain, none waits until one gets through.
    notice: returns the line (with its end) that says how many were dropped.
    """

    def __init__(
        self, fd: int, patience_s: float, notice: Callable[[int], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.fd, self._notice, self._clock = fd, notice, clock
        self._identity: tuple[int, int] | None = None  # of the file that we know how to write to
        self._own: int | None = None  # a descriptor that does not block, of the same file
        self._end: socket.socket | None = None  # the same, where it is a socket
        self._send: Callable[[bytes], int] = self._as_it_is
        self.begin_anew(patience_s)

    def begin_anew(self, patience_s: float) -> None:
        """Forget what was under way: after a fork it is the parent's to finish, and the lock may be held by nobody."""
        self.patience_s = patience_s
        self.dropped = 0
        self._stuck = self._writing = False
        self._rest = b""  # of a line of which a part is written already
        self._lock = threading.RLock()

    def write(self, line: str) -> None:
        """Write `line`, which has its end. Raises OSError when the file is closed, full or has no reader any more."""
        data = line.encode(errors="backslashreplace")
        with self._lock:
            self._look()
            if self._writing:  # a signal's handler, in the middle of another line
                with contextlib.suppress(BlockingIOError):
                    self._send(data)
                return
            self._writing = True
            try:
                self._write(data, self._clock() + (0.0 if self._stuck else self.patience_s))
            except OSError:
                self._rest = b""
                raise
            finally:
                self._writing = False

    def close(self) -> None:
        """Let go of what is our own; the next line takes it again."""
        if self._own is not None:
            os.close(self._own)
        if self._end is not None:
            self._end.close()
        self._own = self._end = self._identity = None

    def _write(self, data: bytes, until: float) -> None:
        if self._pushed(until):
            if self.dropped:
                data = self._notice(self.dropped).encode() + data
            self._rest = data
            self._stuck = not self._pushed(until)
            if self._rest != data:  # never half a line: its rest comes before the next
                self.dropped = 0
                return
            self._rest = b""
        self._stuck = True
        self.dropped += 1

    def _pushed(self, until: float) -> bool:
        """Write the rest; tell whether nothing is left of it."""
        while self._rest:
            try:
                self._rest = self._rest[self._send(self._rest) :]
            except BlockingIOError:
                if not self._room(until):
                    return False
        return True

    def _room(self, until: float) -> bool:
        left_s = until - self._clock()
        return left_s > 0 and _writable(self.fd if self._own is None else self._own, left_s)

    def _look(self) -> None:
        """Find out what to write to, again whenever somebody has put another file in its place (gunicorn's capture)."""
        status = os.fstat(self.fd)
        if (status.st_dev, status.st_ino) == self._identity:
            return
        self.close()
        self._identity = status.st_dev, status.st_ino
        if stat.S_ISSOCK(status.st_mode):
            self._send = self._to_socket()
        elif stat.S_ISFIFO(status.st_mode) or os.isatty(self.fd):
            self._own = _opened_again(self.fd)
            self._send = self._to_own if self._own is not None else self._when_writable
        else:  # a file has its position in the description, and never blocks
            self._send = self._as_it_is

    def _as_it_is(self, data: bytes) -> int:
        return os.write(self.fd, data)

    def _to_own(self, data: bytes) -> int:
        return os.write(self.fd if self._own is None else self._own, data)

    def _when_writable(self, data: bytes) -> int:
        """Look first: another process may fill it in between, but there is no better way to a pipe of another user."""
        if not _writable(self.fd, 0):
            raise BlockingIOError
        return os.write(self.fd, data[:_PIPE_BUF])

    def _to_socket(self) -> Callable[[bytes], int]:
        import socket

        end = self._end = socket.socket(fileno=os.dup(self.fd))
        return lambda data: end.send(data, socket.MSG_DONTWAIT)


def _writable(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))


def _opened_again(fd: int) -> int | None:
    """Return a descriptor of the same pipe or terminal with a description of its own; None where that cannot be had."""
    if sys.platform != "linux":  # elsewhere /dev/fd is as dup(2), and the description the same
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # it belongs to another user
        return None
