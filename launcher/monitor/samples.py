"""How much memory was used before a worker died?

After its end nobody can ask: so it is asked each second, of each worker by one line of /proc (statm; to walk its pages
would cost a hundred times as much), and of the control group by one file.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launcher.monitor.processes import Processes
from launcher.scoreboard import SLOTS, Board, Stage

KEPT = 5  # of each worker
_AFTER_S = 60.0  # that of a worker who has gone are kept: its report waits for the other deaths of its moment
_AT_ONCE = 32  # workers; of more, others have their turn in the next second
_USAGE = ("memory.current", "memory.usage_in_bytes")  # cgroup v2, v1

Seen = tuple[float, int, int]  # instant, private, shared


class Samples:
    """The last samples of each worker, by its number: a pid is used again, a number is not."""

    def __init__(
        self,
        board: Board,
        processes: Processes,
        usage: Callable[[], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the workers of `board`; `usage` returns the bytes that the control group uses."""
        self._board, self._processes, self._usage, self._clock = board, processes, usage, clock
        self._workers: dict[int, deque[Seen]] = {}
        self._group: deque[int] = deque(maxlen=KEPT)
        self._next = 0

    def look(self) -> None:
        """Take a sample. Call it about once a second."""
        now = self._clock()
        used = min(self._board.used, SLOTS)
        for index in range(self._next, min(self._next + _AT_ONCE, used)):
            self._sample(index, now)
        self._next = self._next + _AT_ONCE if self._next + _AT_ONCE < used else 0
        if used and (usage := self._usage()) is not None:
            self._group.append(usage)
        for number in [number for number, seen in self._workers.items() if now - seen[-1][0] > _AFTER_S]:
            del self._workers[number]

    def of(self, number: object) -> list[dict[str, Any]]:
        """Return the samples of a worker, the oldest first: how long ago, and bytes."""
        now = self._clock()
        seen = self._workers.get(number, ()) if isinstance(number, int) else ()
        return [
            {"age_s": round(now - at, 1), "private_bytes": private, "shared_bytes": shared}
            for at, private, shared in seen
        ]

    def group(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return the most that the group has used in the last seconds, and its limit as `known` has it.

        The most: when one is told of a death, the dead one's memory has been given back.
        """
        limit = known.get("limit_bytes")
        if not self._group and limit is None:
            return {}
        return {"usage_bytes": max(self._group, default=None), "limit_bytes": limit}

    def _sample(self, index: int, now: float) -> None:
        slot = self._board.slot(index)
        number, pid = slot.number, slot.pid
        if slot.stage is Stage.EMPTY or not (number and pid):
            return
        if (memory := self._processes.counted(pid)) is not None and memory[0] + memory[1]:  # a zombie has none
            self._workers.setdefault(number, deque(maxlen=KEPT)).append((now, *memory))


def usage_of_group(root: Path = Path("/")) -> Callable[[], int | None]:
    """Return what reads the bytes that our control group uses; None where nothing tells."""
    if sys.platform != "linux":
        return lambda: None
    from launcher.limits.cgroups import read_groups  # not where there are no groups
    from launcher.limits.tree import Tree

    groups = read_groups(Tree(root))
    paths = [f"{directory}/{_USAGE[0]}" for directory in groups.v2()]
    paths += [f"{directory}/{_USAGE[1]}" for directory in groups.v1("memory")[:1]]
    found = next((path for path in (root / path.lstrip("/") for path in paths) if path.exists()), None)

    def read() -> int | None:
        try:
            return None if found is None else int(found.read_bytes())
        except (OSError, ValueError):
            return None

    return read
