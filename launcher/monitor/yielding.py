"""How many workers does the pool do without, for want of memory?

One is given up when the kernel would kill otherwise, and the next one only when that one has gone and its memory with
it. Taken back is one at a time, too, when there has been room for long; after a growth that was too much the next one
waits twice as long. So whatever the readings say, the pool has at least one worker and does not swing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.errors import ExitCode
from launcher.monitor.marks import Level
from launcher.monitor.recycling import REFUSED_S, Ask
from launcher.monitor.watched import Watched
from launcher.units import human_bytes, human_seconds

PATIENCE_S = 60.0  # there has to be room for it for so long
HOLDS_S = 600.0  # a growth that is followed by a shrink within it was too much
LONGEST_S = 3600.0
# For a worker that is to leave and does not, since its requests keep it: the next one may be asked.
LATE_S = 30.0  # where the kernel is about to kill
CALM_LATE_S = 300.0
_NEW_S = 1.0  # a look later: by then the memory of what has ended is out of what is read
_GROWTH_BYTES = 16 << 20  # the least allowance in the sum; who is there has had its traffic


@dataclass(frozen=True, slots=True)
class Yielded:
    """What has become of it. because: in words. is_last: nobody is left who could be given up."""

    because: str
    is_last: bool = False


class Yielding:
    """Asks the pool to shrink and to grow back."""

    def __init__(
        self,
        ask: Ask,
        wanted: Callable[[], int],
        given_up: Callable[[], int],
        largest: Callable[[], Watched | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask by `ask`, as `launcher.monitor.control.Control.ask` takes it.

        wanted, given_up: how many workers there are to be now, and how many fewer that is for want of memory. largest:
        who has most memory for itself.
        """
        self._ask, self._wanted, self.given_up, self._largest, self._clock = ask, wanted, given_up, largest, clock
        self._asked, self._asked_at, self._number = "", -math.inf, 0  # what is under way, since when
        self._not_before = self._shrunk_at = self._grown_at = -math.inf
        self._fits_since = math.inf
        self._wait_s = PATIENCE_S
        self._limits: dict[str, int] = {}

    def shrink(self, because: str, too_much_bytes: int = 0, *, late_s: float = CALM_LATE_S) -> Yielded:
        """Do without one, the largest first; return what is begun, or else why nothing is.

        too_much_bytes: without several at once, if it takes so many as large as the largest to hold that much.
        late_s: for so long the one that was asked to leave may be there.
        """
        now, wanted = self._clock(), self._wanted()
        self._fits_since = math.inf
        if self._asked == "shrink" and now - self._asked_at < late_s:
            return Yielded("the pool is becoming smaller")
        if wanted <= 1:
            return Yielded("one worker is left", is_last=True) if wanted else Yielded("there is no pool yet")
        if now < self._not_before:
            return Yielded("the pool was asked for another size a moment ago")
        if now - self._grown_at <= HOLDS_S:
            self._wait_s = min(self._wait_s * 2, LONGEST_S)
        elif now - self._shrunk_at > HOLDS_S:
            self._wait_s = PATIENCE_S
        self._grown_at, self._shrunk_at = -math.inf, now
        largest = self._largest()
        pid = None if largest is None else largest.ready.pid
        own = 0 if largest is None else largest.own_bytes
        fewer = min(wanted - 1, max(1, -(-too_much_bytes // own) if own else 1))
        message = {"ask": "shrink", "workers": wanted - fewer, "pid": pid, "because": because}
        self._begin(message, self._heard_shrunk)
        return Yielded(f"{wanted - fewer} of {wanted} workers {'is' if wanted - fewer == 1 else 'are'} to stay")

    def look(self, levels: Sequence[Level]) -> None:
        """Take one back, if there has been room for it for long. To be called whenever nothing is pressed.

        levels: of all that it would have to fit into, what the present workers will come to need included.
        """
        now = self._clock()
        if any(level.limit_bytes > self._limits.get(level.source, level.limit_bytes) for level in levels):
            self._wait_s = PATIENCE_S  # what was too much then need not be now
        self._limits |= {level.source: level.limit_bytes for level in levels}
        if self._asked or not self.given_up():
            return
        one = self._size_of_one()
        if any(level.needed_bytes + one > level.again_bytes for level in levels):
            self._fits_since = math.inf
            return
        self._fits_since = min(self._fits_since, now)
        since = max(self._fits_since, self._shrunk_at, self._grown_at)
        if now < self._not_before or now - since < self._wait_s:
            return
        tightest = max(levels, key=lambda level: (level.needed_bytes + one) / level.again_bytes)
        needed = f"{human_bytes(tightest.needed_bytes + one)} of {human_bytes(tightest.limit_bytes)} would be needed"
        because = f"with one more {needed}, and it has been so for {human_seconds(round(now - since))}"
        self._begin({"ask": "grow_back", "because": because}, self._heard_grown)

    def _size_of_one(self) -> int:
        largest = self._largest()
        own = 0 if largest is None else largest.own_bytes
        return own + _GROWTH_BYTES

    def blind(self) -> None:
        """Nothing can be read: what there was room for then says nothing of now."""
        self._fits_since = math.inf

    def _begin(self, message: dict[str, Any], heard: Callable[[int, str], None]) -> None:
        """Ask. A growth that never comes to its end must not keep anybody from shrinking: the latest ask counts."""
        self._number += 1
        number, self._asked, self._asked_at = self._number, str(message["ask"]), self._clock()

        def hear(code: int, because: str) -> None:
            if number == self._number:
                self._asked = ""
            heard(code, because)

        self._ask(message, hear)

    def _heard_shrunk(self, code: int, _because: str) -> None:
        now = self._clock()
        if code == ExitCode.OK:
            self._shrunk_at, self._not_before = now, now + _NEW_S
        else:
            self._not_before = now + REFUSED_S

    def _heard_grown(self, code: int, _because: str) -> None:
        now = self._clock()
        if code == ExitCode.OK:
            self._grown_at, self._not_before = now, now + _NEW_S
        elif not self._asked:  # else a shrink has overtaken it
            self._not_before = now + REFUSED_S
