"""Does the pool need almost all the memory there is?

What the group cannot give back is held against its limit, not what it uses: a group may stand at its limit by page
cache alone, and be in no danger. At the pace of a leak nine tenths may be too late, so the pace is looked at, too.
Recycling a worker that has grown comes first; where that is no use there are fewer workers, before the kernel kills.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from launcher.limits.room import Room
from launcher.monitor.watch import LEAK_LEFT_S
from launcher.monitor.watched import LOOKS, Relief
from launcher.monitor.yielding import ONE_LEFT, Yielding
from launcher.units import human_bytes

PRESSED = 0.9  # of the limit, at LOOKS looks
URGENT = 0.95  # of it, at once
KILL_S = 3.0  # to the limit: a worker that is asked to leave needs a second or two for it
_OVER = 0.85  # below it, it is said anew when it comes again
_HASTY_LOOKS = 2  # in a row at which the limit is seconds away
_SLOW_S = 5.0  # a recycle that is under way for longer may end too late: requests may keep the old worker for long


class Pressure:
    """Says so, has the largest worker recycled, or the pool made smaller. `look` is to be called about once a second.

    room: what was read last. unshared: as `Sharing.look`; what one worker has lost the next one may lose at once: that
    is foreseen.
    """

    def __init__(
        self,
        read: Callable[[], Room | None],
        relieve: Callable[[float], Relief],
        yielding: Yielding,
        warn: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go by what `read` returns; None: nothing is known.

        relieve: recycles a worker, as `Watch.relieve`.
        """
        self._read, self._relieve, self._yielding, self._warn, self._clock = read, relieve, yielding, warn, clock
        self.room: Room | None = None
        self.unshared: Callable[[int | None], int | None] = lambda _: None
        self._needed: deque[tuple[float, int]] = deque(maxlen=LOOKS)
        self._looks = self._hasty = self._foreseen = 0
        self._is_urgent = self._is_said = self._is_end_said = False
        self._source = ""

    def look(self) -> None:
        """Read, and do what can be done now."""
        room = self.room = self._read()
        coming = self.unshared(None if room is None else room.usage.anon_bytes)
        if room is None or not room.limit_bytes:
            self._forget()
            return
        if (source := room.limit_source) != self._source:  # another group has least left now: that is no growth
            self._forget()
            self._source = source
        was_urgent = self._is_urgent
        left_s = self._count(room)
        is_hasty, is_bounded = self._hasty >= _HASTY_LOOKS, self._is_bounded(room, coming or 0)
        is_killing = is_hasty and left_s <= KILL_S and not is_bounded
        if (self._looks and self._looks % LOOKS == 0) or (self._is_urgent and not was_urgent):
            self._say(room, self._act(room, 0.0, is_killing=is_killing))
        elif is_hasty:
            self._act(room, left_s, is_killing=is_killing)
        elif not self._looks:
            self._yielding.look(room, coming or 0)

    def facts(self) -> dict[str, Any]:
        """Return what `status` shows of it."""
        known = {} if self.room is None else {"needed_bytes": self.room.usage.needed_bytes}
        return {**known, "pressed": self._is_urgent or self._looks >= LOOKS, "given_up": self._yielding.given_up}

    def _forget(self) -> None:
        """What was read before tells nothing of how it goes on from here."""
        self._needed.clear()
        self._looks = self._hasty = 0
        self._yielding.blind()

    def _count(self, room: Room) -> float:
        """Take note of a reading; return when the limit will be reached."""
        needed, limit = room.usage.needed_bytes, room.limit_bytes
        self._needed.append((self._clock(), needed))
        left_s = _left_s(self._needed, limit)
        self._looks = self._looks + 1 if needed > limit * PRESSED else 0
        self._hasty = self._hasty + 1 if left_s <= LEAK_LEFT_S else 0
        self._is_urgent = needed > limit * URGENT
        self._is_said = self._is_said and needed > limit * _OVER
        self._is_end_said = self._is_end_said and self._is_said
        return left_s

    def _is_bounded(self, room: Room, coming_bytes: int) -> bool:
        """Tell whether the pace is that of un-sharing, which will end below the limit: it is seen to that it does."""
        self._foreseen = LOOKS if coming_bytes else max(0, self._foreseen - 1)
        then = room.usage.needed_bytes + coming_bytes
        if coming_bytes and then > room.limit_bytes * URGENT and room.is_limited:
            self._yielding.shrink(_foreseen(room, coming_bytes), then - int(room.limit_bytes * PRESSED))
        return bool(self._foreseen) and then <= room.limit_bytes * URGENT

    def _act(self, room: Room, left_s: float, *, is_killing: bool) -> str:
        """Do something, and return in words what, or why nothing.

        left_s: as `relieve` takes it. is_killing: the limit will be reached before a worker could be replaced.
        """
        relief = self._relieve(left_s)
        is_late = relief.for_s > _SLOW_S and (is_killing or self._is_urgent)
        if relief.is_enough and not is_late:
            return relief.because
        if not room.is_limited:  # the whole machine's: what others take there is no reason to serve with less
            return relief.because
        if left_s and not is_killing:
            return relief.because
        return f"{relief.because}; {self._yielding.shrink(f'{_short(room)}: {relief.because}')}"

    def _say(self, room: Room, said: str) -> None:
        if said.endswith(ONE_LEFT) and not self._is_end_said:
            self._is_said = self._is_end_said = True
            because = f"{_short(room)}, and there is nothing left to do: {said}"
            self._warn("launcher.memory_exhausted", because=because, **_facts(room))
        elif not self._is_said:
            self._is_said = True
            self._warn("launcher.memory_pressed", because=f"{_short(room)}: {said}", **_facts(room))


def _short(room: Room) -> str:
    return f"{human_bytes(room.usage.needed_bytes)} of {human_bytes(room.limit_bytes)} cannot be given back"


def _foreseen(room: Room, coming_bytes: int) -> str:
    more = f"{human_bytes(coming_bytes)} more will be when all workers have un-shared what one has"
    return f"{_short(room)}, and {more}"


def _facts(room: Room) -> dict[str, object]:
    usage = room.usage
    return {
        "needed_bytes": usage.needed_bytes,
        "anon_bytes": usage.anon_bytes,
        "shmem_bytes": usage.shmem_bytes,
        "kernel_bytes": usage.kernel_bytes,
        "limit_bytes": room.limit_bytes,
        "source": usage.source,
    }


def _left_s(needed: deque[tuple[float, int]], limit_bytes: int) -> float:
    """Return when the limit will be reached at the pace of the last looks; infinite for who does not grow."""
    (at, now), paces = needed[-1], [0.0]
    if len(needed) > 1 and now <= needed[-2][1]:  # a step that is over is no pace
        return float("inf")
    for before, bytes_before in list(needed)[:-1]:
        paces.append((now - bytes_before) / max(at - before, 0.1))
    pace = max(paces)  # a worker that has just gone makes the longer one smaller
    return (limit_bytes - now) / pace if pace > 0 else float("inf")
