"""How often has the kernel's OOM killer struck in this group?

A SIGKILL with this counter unmoved was somebody else's, so it is read before and after a death. The event names differ:
`oom_kill` counts killed processes, `oom` and v1's `failcnt` count only that the limit was met.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launcher.limits.cgroups import read_groups
from launcher.limits.tree import Tree

_KILLS, _MET, _GROUP = "oom_kill", "oom", "memory.oom.group"


@dataclass(frozen=True, slots=True)
class OomCounts:
    """What the kernel has counted so far.

    kills: processes of the group that were killed for memory, by whichever limit; None where nobody tells.
    oom: how often the group's own limit (v2: or one below it) was the reason; None in cgroup v1.
    group: one kill takes the whole group (`memory.oom.group`), of ours or of one above.
    source: the file that says so, "" for none.
    """

    kills: int | None = None
    oom: int | None = None
    group: bool = False
    source: str = ""


class OomReader:
    """Reads the counts again and again: which file has them is found once, and again when it cannot be read."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Read below `root`, for recorded hosts."""
        self._root = root
        self._found = OomCounts()

    def __call__(self) -> OomCounts:
        """Return the counts. Never raises."""
        if self._found.source:
            counts = _counts(Tree(self._root), self._found.source, group=self._found.group)
            if counts.kills is not None:
                return counts
        self._found = read_oom(self._root)
        return self._found


def read_oom(root: Path = Path("/")) -> OomCounts:
    """Return the counts of the group that this process's memory is counted in. Never raises.

    cgroup v2 counts the group with all below it (`memory.events`), v1 the group alone (`memory.oom_control`; the number
    stands there since Linux 4.13). Where the process's own group has no memory controller, the next above that has one
    is its group for memory. `root` is put before every path, for recorded hosts.
    """
    tree = Tree(root)
    groups = read_groups(tree)
    # The kernel takes the highest group with it below the limit that was met (mem_cgroup_get_oom_group).
    group = any(tree.text(f"{directory}/{_GROUP}") == "1" for directory in groups.v2())
    paths = [f"{directory}/memory.events" for directory in groups.v2()]
    paths += [f"{directory}/memory.oom_control" for directory in groups.v1("memory")[:1]]
    found = (_counts(tree, path, group=group) for path in paths)
    return next((counts for counts in found if counts.kills is not None), OomCounts(group=group))


def _counts(tree: Tree, path: str, *, group: bool) -> OomCounts:
    table = tree.table(path)
    kills, met = (int(text) if text.isdecimal() else None for text in (table.get(_KILLS, ""), table.get(_MET, "")))
    return OomCounts(kills, met, group, path if kills is not None else "")
