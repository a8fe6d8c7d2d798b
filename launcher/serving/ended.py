"""Does the monitor know that this is the end?

What ends without a word is reported by the next run. So a server says with what it ends, and waits a moment until that
was heard: where it is PID 1, the kernel ends the monitor with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Mapping
from typing import Any

from launcher.channel import Channel
from launcher.serving import kept_monitor

_HEARD_WITHIN_S = 1.0


class End:
    """The end of this process; of one that was forked from it nothing is said."""

    def __init__(self) -> None:
        """Begin; `monitor` is as `Crossed` has it, once that is known."""
        self._pid = os.getpid()
        self.monitor: Mapping[str, Any] = {}

    def tell(self, code: object) -> None:
        """Say that it ends, by sys.exit(code). Never raises."""
        number = 0 if code is None else code if isinstance(code, int) else 1
        if os.getpid() != self._pid or number < 0:  # gunicorn exits with -1 when its own loop has raised
            return
        with contextlib.suppress(OSError, ValueError, KeyError):
            channel = kept_monitor.channel or (Channel(self.monitor["channel"]) if self.monitor else None)
            if channel is not None and channel.send({"event": "launcher.server_ended", "code": int(number)}):
                _until_heard(channel)


def _until_heard(channel: Channel) -> None:
    until = time.monotonic() + _HEARD_WITHIN_S
    while not channel.gone and (left := until - time.monotonic()) > 0:
        select.select((channel,), (), (), left)
        if any("ended" in message for message in channel.receive()):
            return
