"""How many workers does the pool do without, for want of memory?

One is given up when the kernel would kill otherwise, and the next one only when that one has gone and its memory with
it. Taken back is one at a time, too, when there has been room for long; after a growth that was too much the next one
waits twice as long. So whatever the readings say, the pool has at least one worker and does not swing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from launcher.errors import ExitCode
from launcher.limits.room import Room
from launcher.monitor.recycling import REFUSED_S, Ask
from launcher.monitor.watched import Watched
from launcher.units import human_bytes, human_seconds

AFTER = 0.85  # of the limit: what may be needed with one more; below the 0.9 at which one is given up
PATIENCE_S = 60.0  # there has to be room for it for so long
HOLDS_S = 600.0  # a growth that is followed by a shrink within it was too much
LONGEST_S = 3600.0
_LATE_S = 30.0  # for a worker that is to leave and does not: the next one may be asked
_NEW_S = 1.0  # a look later: by then the memory of what has ended is out of what is read
_GROWTH_BYTES = 16 << 20  # the least allowance in the sum; who is there has had its traffic
ONE_LEFT = "one worker is left"


class Yielding:
    """Asks the pool to shrink and to grow back. given_up: how many it does without, as far as we know."""

    def __init__(
        self,
        ask: Ask,
        wanted: Callable[[], int],
        largest: Callable[[], Watched | None],
        clock: Callable[[], float] = time.monotonic,
        *,
        is_unsure: bool = False,
    ) -> None:
        """Ask by `ask`, as `launcher.monitor.control.Control.ask` takes it.

        wanted: how many workers there are to be now. largest: who has most memory for itself.
        is_unsure: a monitor before us may have given up some: the pool knows, and is asked when there is room.
        """
        self._ask, self._wanted, self._largest, self._clock = ask, wanted, largest, clock
        self._is_unsure = is_unsure
        self.given_up = 0
        self._asked, self._asked_at, self._number = (
            "",
            float("-inf"),
            0,
        )  # what is under way, since when
        self._not_before = self._shrunk_at = self._grown_at = float("-inf")
        self._fits_since = math.inf
        self._wait_s = PATIENCE_S

    def shrink(self, because: str, too_much_bytes: int = 0) -> str:
        """Do without one, the largest first; return what is begun, or else why nothing is.

        too_much_bytes: without several at once, if it takes so many as large as the largest to hold that much.
        """
        now, wanted = self._clock(), self._wanted()
        self._fits_since = math.inf
        if self._asked == "shrink" and now - self._asked_at < _LATE_S:
            return "the pool is becoming smaller"
        if wanted <= 1:
            return ONE_LEFT if wanted else "there is no pool yet"
        if now < self._not_before:
            return "the pool was asked for another size a moment ago"
        if now - self._grown_at <= HOLDS_S:
            self._wait_s = min(self._wait_s * 2, LONGEST_S)
        elif now - self._shrunk_at > HOLDS_S:
            self._wait_s = PATIENCE_S
        self._grown_at, self._shrunk_at = float("-inf"), now
        largest = self._largest()
        pid = None if largest is None else largest.ready.pid
        own = 0 if largest is None else largest.own_bytes
        fewer = min(wanted - 1, max(1, -(-too_much_bytes // own) if own else 1))
        message = {"ask": "shrink", "workers": wanted - fewer, "pid": pid, "because": because}
        self._begin(message, partial(self._heard_shrunk, fewer))
        return f"{wanted - fewer} of {wanted} workers {'is' if wanted - fewer == 1 else 'are'} to stay"

    def look(self, room: Room, coming_bytes: int = 0) -> None:
        """Take one back, if there has been room for it for long. To be called whenever nothing is pressed.

        coming_bytes: what those that are there will need besides, as far as it is known.
        """
        now = self._clock()
        if self._asked or not (self.given_up or self._is_unsure):
            return
        with_one = room.usage.needed_bytes + coming_bytes + self._size_of_one()
        if with_one > room.limit_bytes * AFTER:
            self._fits_since = math.inf
            return
        self._fits_since = min(self._fits_since, now)
        since = max(self._fits_since, self._shrunk_at, self._grown_at)
        if now < self._not_before or now - since < self._wait_s:
            return
        needed = f"{human_bytes(with_one)} of {human_bytes(room.limit_bytes)} would be needed"
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

    def _heard_shrunk(self, fewer: int, code: int, _because: str) -> None:
        """Count them, unless it was refused; one that did not arrive, or was overtaken, the pool knows of."""
        now = self._clock()
        if code == ExitCode.OK:
            self.given_up += fewer
            self._shrunk_at, self._not_before = now, now + _NEW_S
        else:
            self._is_unsure = self._is_unsure or code != ExitCode.USAGE
            self._not_before = now + REFUSED_S

    def _heard_grown(self, code: int, _because: str) -> None:
        now = self._clock()
        if code == ExitCode.OK:
            self.given_up = max(0, self.given_up - 1)
            self._grown_at, self._not_before = now, now + _NEW_S
        elif code == ExitCode.USAGE:  # none was given up: somebody has said another number since
            self.given_up, self._is_unsure = 0, False
        elif not self._asked:  # else a shrink has overtaken it
            self._not_before = now + REFUSED_S
