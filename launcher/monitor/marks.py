"""From when on is there too little memory left?

A tenth of the limit, and never more than 1 GiB: what grows faster than that is noticed by its pace, and a pool of 60 GB
that stands still with 5 GB left is in no danger. Who has said which part of the limit may be used has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.limits.room import Room

_LEFT, _LEFT_BYTES = 0.1, 1 << 30
# Below it is no time left to do anything: a look a second, and as much again for a worker to leave.
_LEAST_LEFT = 0.03


@dataclass(frozen=True, slots=True)
class Marks:
    """Of a limit, in bytes.

    again: below it what was pressed is not any more, and with one worker more it has to be below it, too.
    pressed: above it at `LOOKS` looks, or `urgent` at one, something is done.
    """

    again: int
    pressed: int
    urgent: int


@dataclass(frozen=True, slots=True)
class Level:
    """How much is needed of what `source` allows, in bytes; up to `again_bytes` a worker may be taken back."""

    source: str
    needed_bytes: int
    limit_bytes: int
    again_bytes: int


def marks_of(limit_bytes: int, used_bytes: int = 0) -> Marks:
    """Return those of a limit: 85, 90 and 95 % of it, less of a large one is left free.

    used_bytes: may be in use for good, as somebody has said; of that the pool's size was made.
    """
    left = _left(limit_bytes, used_bytes)
    pressed = limit_bytes - left
    return Marks(max(pressed - left // 2, min(used_bytes, pressed)), pressed, pressed + left // 2)


def scarcity(room: Room, used_bytes: int = 0) -> float:
    """Tell how near a group is to being pressed: below 1 it is, so that of several the least counts."""
    return room.free_bytes / max(1, _left(room.limit_bytes, used_bytes))


def _left(limit_bytes: int, used_bytes: int) -> int:
    unused = max(limit_bytes - used_bytes, int(limit_bytes * _LEAST_LEFT))
    return min(int(limit_bytes * _LEFT), _LEFT_BYTES, unused)
