"""Does the pool stand still for want of memory?

A group can need less than its limit and be slow for it: at `memory.high`, or where the files it maps have no room left
and are read again and again. Its pressure stall information tells; that of a machine says nothing about one pool of it.
"""

from __future__ import annotations

import math

from launcher.limits.stalls import MACHINE, Stalls

# Percent of the time in which nobody in the group could run. systemd-oomd kills a group at 60 % for 30 s (oomd.conf(5):
# DefaultMemoryPressureLimit=, DefaultMemoryPressureDurationSec=): there is to be time for two workers to go before.
STALLED = 20.0
LASTS_S = 10.0  # the window of avg10: then all of it was so
SETTLES_S = 30.0  # after something was done: by then the window has nothing of before
HOPELESS_S = 600.0  # when that was no use: what is lacking is not what a worker has
_BETTER = 0.75  # of what it was


class Stalled:
    """Tells when something is to be done about it. `look` has to be called about once a second."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._since = math.inf
        self._not_before = -math.inf
        self._before: float | None = None  # the percentage when something was done last

    def look(self, stalls: Stalls | None, now: float) -> str:
        """Return why something is to be done now; empty: nothing."""
        if stalls is None or stalls.source == MACHINE or stalls.full_avg10 < STALLED:
            self._since, self._before = math.inf, None
            return ""
        self._since = min(self._since, now)
        if now - self._since < LASTS_S or now < self._not_before:
            return ""
        if self._before is not None and stalls.full_avg10 > self._before * _BETTER:
            self._before, self._not_before = None, now + HOPELESS_S
            return ""
        return f"for {stalls.full_avg10:.0f} % of the time nobody could run for want of memory"

    def done(self, stalls: Stalls, now: float) -> None:
        """Something was done about it: it has to help before more is."""
        self._before, self._not_before = stalls.full_avg10, now + SETTLES_S
