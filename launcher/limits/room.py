"""How much may the group that binds us still grow by?

Of all visible groups with a limit the one with least left: an ancestor's limit counts what its other groups hold, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.limits.cgroups import read_groups
from launcher.limits.memory import read_memory
from launcher.limits.tree import Tree
from launcher.limits.usage import GroupUsage, UsageReader


@dataclass(frozen=True, slots=True)
class Room:
    """A limit, and what is held below it. Sizes in bytes.

    limit_source: which file, or who says so. is_limited: False where the limit is the machine itself.
    usage: of the group the limit is of (of ours, where a platform or the machine limits).
    """

    limit_bytes: int
    limit_source: str
    is_limited: bool
    usage: GroupUsage

    @property
    def free_bytes(self) -> int:
        """What is left; negative when it is over (a limit that was lowered)."""
        return self.limit_bytes - self.usage.needed_bytes


class RoomReader:
    """Reads it again and again, limits included: they can be changed while we run (`docker update`, a pod's resize)."""

    def __init__(self, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> None:
        """Read below `root`, for recorded hosts."""
        self._root, self._environ = root, environ
        self._usage = UsageReader(root)

    def __call__(self) -> Room | None:
        """Return the room; None where nothing tells (no memory controller, macOS). Never raises."""
        usage = self._usage()
        if usage is None:
            return None
        tree = Tree(self._root)
        limit, is_limited = read_memory(tree, read_groups(tree), self._environ)
        return Room(int(limit.value), limit.source, is_limited, usage)
