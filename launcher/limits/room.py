"""How much may the group that binds us still grow by?

Of all visible groups with a limit the one with least left, or the one that whoever asks finds worst: an ancestor's
limit counts what its other groups hold, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.limits.cgroups import Groups, read_groups
from launcher.limits.memory import given_limits, host_total, v1_limit_of, v1_plain_limits, v2_limits_of
from launcher.limits.tree import Tree
from launcher.limits.usage import (
    MEMINFO,
    STAT,
    GroupUsage,
    Read,
    counting_groups,
    machine_usage,
    v1_usage,
    v2_usage,
)
from launcher.limits.values import Limit

FOUND_S = 60.0  # as long as it is taken for granted which groups there are


@dataclass(frozen=True, slots=True)
class Room:
    """A limit, and what is held below it. Sizes in bytes.

    limit_source: which file, or who says so. is_limited: False where the limit is the machine itself.
    usage: of the group the limit is of (of ours, where a platform or the machine limits; of the machine, where no group
        counts for us).
    """

    limit_bytes: int
    limit_source: str
    is_limited: bool
    usage: GroupUsage

    @property
    def free_bytes(self) -> int:
        """What is left; negative when it is over (a limit that was lowered)."""
        return self.limit_bytes - self.usage.needed_bytes


def free_bytes(room: Room) -> float:
    """Return by what a room is the least of several: it is less there."""
    return room.free_bytes


@dataclass(frozen=True, slots=True)
class _Places:
    """Where to look.

    own: who counts for us, the likeliest first. v2: groups with a memory controller, our own first. v1: the same, up to
    where limits do not bind any more what is below. given: what platforms say.
    """

    host: Limit
    given: tuple[Limit, ...]
    own: tuple[tuple[Read, str], ...]
    v2: tuple[str, ...]
    v1: tuple[str, ...]


class RoomReader:
    """Reads it again and again, limits included: they can be changed while we run (`docker update`, a pod's resize).

    Which groups there are is found once, again when they cannot be read, and each minute.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        left: Callable[[Room], float] = free_bytes,
    ) -> None:
        """Read below `root`, for recorded hosts. left: of several groups with a limit the one with least of it counts.

        By bytes it is where the next worker would not fit, by the part of the limit where somebody is killed first.
        """
        self._root, self._environ, self._clock, self._left = root, environ, clock, left
        self._places: _Places | None = None
        self._found_at = 0.0

    def __call__(self) -> Room | None:
        """Return the room; None where nothing tells (no memory controller, macOS). Never raises."""
        tree, now = Tree(self._root), self._clock()
        if self._places is not None and now - self._found_at < FOUND_S:
            look = _Look(tree, self._places)
            if look.own is not None or not self._places.own:
                return _least(look, self._left)
        self._places, self._found_at = _find(tree, self._environ), now
        return _least(_Look(tree, self._places), self._left)


def _find(tree: Tree, environ: Mapping[str, str]) -> _Places:
    groups, host = read_groups(tree), host_total(tree)
    v2 = (directory for directory in groups.v2() if tree.exists(f"{directory}/memory.max"))
    own = tuple(counting_groups(tree, groups))
    return _Places(host, tuple(given_limits(tree, environ, host)), own, tuple(v2), tuple(_v1_in_force(tree, groups)))


def _v1_in_force(tree: Tree, groups: Groups) -> Iterator[str]:
    """Yield our own v1 group, and those above it as long as they count what is below (memory.rst, 6: hierarchy)."""
    for index, directory in enumerate(groups.v1("memory")):
        if index and tree.text(f"{directory}/memory.use_hierarchy") != "1":
            return
        yield directory


class _Look:
    """One look at all of them; each memory.stat is read once. own: what our own group holds. host: the machine's."""

    def __init__(self, tree: Tree, places: _Places) -> None:
        self._tree, self._places, self.host = tree, places, places.host
        self._stats: dict[str, Mapping[str, str]] = {}
        self.own = next((usage for read, directory in places.own if (usage := self._usage(read, directory))), None)

    def limits(self) -> Iterator[tuple[Limit, GroupUsage | None]]:
        """Yield each limit that is below the machine's memory, and what is held against it; None: nothing tells."""
        for limit, read, directory in (*self._v2(), *self._v1()):
            if limit.value < self.host.value:
                yield limit, (self._usage(read, directory) if read else None) or self.own
        for limit in self._places.given:
            yield limit, self.own or (self.machine() if limit.value >= self.host.value else None)

    def machine(self) -> GroupUsage | None:
        """Return what the machine holds, for where no group counts for us."""
        return machine_usage(self._tree.table(MEMINFO))

    def _v2(self) -> Iterator[tuple[Limit, Read, str]]:
        for directory in self._places.v2:
            for limit in v2_limits_of(self._tree, directory):
                yield limit, v2_usage, directory

    def _v1(self) -> Iterator[tuple[Limit, Read | None, str]]:
        """Yield what memory.stat tells of each; it counts every group above that is in force, also unseen ones."""
        is_told = False
        for directory in self._places.v1:
            if (limit := v1_limit_of(self._stat(directory), directory)) is not None:
                is_told = True
                yield limit, v1_usage, directory
        if not is_told:
            yield from ((limit, None, "") for limit in v1_plain_limits(self._tree, self._places.v1))

    def _usage(self, read: Read, directory: str) -> GroupUsage | None:
        return read(self._tree, directory, self._stat(directory))

    def _stat(self, directory: str) -> Mapping[str, str]:
        if directory not in self._stats:
            self._stats[directory] = self._tree.table(f"{directory}/{STAT}")
        return self._stats[directory]


def _least(look: _Look, left: Callable[[Room], float]) -> Room | None:
    against = list(look.limits())
    if rooms := [Room(int(limit.value), limit.source, is_limited=True, usage=held) for limit, held in against if held]:
        return min(rooms, key=left)
    usage = None if against else look.own or look.machine()
    return None if usage is None else Room(int(look.host.value), look.host.source, is_limited=False, usage=usage)
