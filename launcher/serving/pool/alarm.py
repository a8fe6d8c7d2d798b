"""How does a server's loop sleep until something happens?

A signal, a message, or the end of the time: signals wake `select` through the descriptor that Python writes them to, so
none can slip in between looking and sleeping. Handlers stay where they are.
"""

from __future__ import annotations

import os
import select
import signal


class Alarm:
    """One a process."""

    def __init__(self) -> None:
        """Begin to be woken by signals; call it in the main thread."""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def wait(self, timeout_s: float, *watched: int) -> None:
        """Sleep for `timeout_s` at most, or until one of the descriptors `watched` can be read."""
        ready, _, _ = select.select((self._read, *watched), (), (), timeout_s)
        if self._read in ready:
            os.read(self._read, 4096)

    def forget(self) -> None:
        """Undo it, in a process that was forked from this one."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write
