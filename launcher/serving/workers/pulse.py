"""Does the event loop go round, and how late is it?"""

from __future__ import annotations

import time
from collections.abc import Callable

from launcher.scoreboard import Slot

TICK_S = 0.1  # how often a server's loop calls; uvicorn's own figure
_BEAT_S = 1.0


class Pulse:
    """Tells the slot once a second, with the worst delay since it last did; at each tick, what was counted."""

    def __init__(self, slot: Slot, clock: Callable[[], float] = time.monotonic) -> None:
        self._slot = slot
        self._clock = clock
        self._worst_s = 0.0
        self._due = self._beat_at = clock()

    def tick(self) -> None:
        """Note that the loop has come round; call it each TICK_S."""
        now = self._clock()
        self._worst_s = max(self._worst_s, now - self._due)
        self._due = now + TICK_S
        self._slot.publish()
        if now >= self._beat_at:
            self._slot.beat(self._worst_s)
            self._worst_s, self._beat_at = 0.0, now + _BEAT_S
