"""What does the pool say to what it is asked?

Each ask has a number of its own; its answer comes when its outcome is known, which for a reload may take minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from launcher.channel import Channel
from launcher.errors import ExitCode

Outcome = Callable[[int, str], None]  # exit code, reason

PATIENCE_S = 3600.0  # of an ask nobody answers; a reload of many workers with a long start may take that long


class Control:
    """Asks over the channel, and hands the answers on."""

    def __init__(self, channel: Channel, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask over `channel`."""
        self._channel, self._clock = channel, clock
        self._pending: dict[int, tuple[float, Outcome]] = {}
        # Not from 1: an answer to a monitor that has died meanwhile may still come over the channel.
        self._number = time.time_ns() // 1000

    def ask(self, message: Mapping[str, Any], outcome: Outcome) -> None:
        """Ask for something (`{"ask": "reload"}`); `outcome` is called once, now or when it is known."""
        self._number += 1
        number = self._number
        if not self._channel.send({**message, "id": number}):
            because = "the server is gone" if self._channel.gone else "the server does not listen"
            outcome(ExitCode.BUG, because)
        else:
            self._pending[number] = (self._clock() + PATIENCE_S, outcome)

    def hear(self, message: Mapping[str, Any]) -> None:
        """Hand on an answer; one that nobody waits for is dropped."""
        match message:
            case {"answer": int(number), "code": int(code)}:
                _, outcome = self._pending.pop(number, (0.0, _nobody))
                outcome(code, str(message.get("because", "")))
            case _:  # an event, or no answer
                pass

    def look(self) -> None:
        """Give up on what takes too long, and on everything once the server is gone."""
        now, gone = self._clock(), self._channel.gone
        for number in [number for number, (until, _) in self._pending.items() if gone or now > until]:
            _, outcome = self._pending.pop(number)
            outcome(ExitCode.BUG, "the server is gone" if gone else f"no answer within {PATIENCE_S:g} s")


def _nobody(_code: int, _because: str) -> None:
    """Wait for nothing."""
