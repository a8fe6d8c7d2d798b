"""Was q pressed?"""

from __future__ import annotations

import os
import select
import signal
import sys
from types import TracebackType
from typing import Any, Self

_QUIT = b"qQ\x04"  # q, and Ctrl+D, which is no end of the file in this mode


class Keys:
    """Reads single keys, without echo, while it is entered; Ctrl+C stays a signal. Without a terminal only time passes.

    TERM and HUP end the program by SystemExit meanwhile, since a terminal has to be put back.
    """

    def __init__(self) -> None:
        """Do nothing yet."""
        self._terminal: int | None = None
        self._before: list[Any] = []
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Put the terminal into this mode."""
        for signum in (signal.SIGTERM, signal.SIGHUP):
            self._handlers[signum] = signal.signal(signum, _end)
        if sys.stdin is not None and sys.stdin.isatty() and os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno()):
            import termios  # with a terminal
            import tty

            self._terminal = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._terminal)
            tty.setcbreak(self._terminal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put everything back."""
        if self._terminal is not None:
            import termios  # as above

            termios.tcsetattr(self._terminal, termios.TCSANOW, self._before)
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def quit_within(self, wait_s: float) -> bool:
        """Wait for so long, or for a key; return whether it was q or the terminal has gone."""
        watched = [] if self._terminal is None else [self._terminal]
        if not select.select(watched, [], [], wait_s)[0]:
            return False
        pressed = os.read(watched[0], 64)
        return not pressed or any(key in _QUIT for key in pressed)


def _end(signum: int, _: object) -> None:
    sys.exit(128 + signum)
