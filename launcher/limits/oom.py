"""How often has the kernel's OOM killer struck in this group?

A SIGKILL with this counter unmoved was somebody else's, so it is read before and after a death. The event names differ:
`oom_kill` counts killed processes, `oom` and v1's `failcnt` count only that the limit was met.
"""

from __future__ import annotations

from pathlib import Path

from launcher.limits.cgroups import read_groups
from launcher.limits.tree import Tree

_NAME = "oom_kill"


def oom_kills(root: Path = Path("/")) -> int | None:
    """Return the number of processes killed so far; None where the kernel does not tell. Never raises.

    cgroup v2 counts the group with all below it (`memory.events`), v1 the group alone (`memory.oom_control`; the number
    stands there since Linux 4.13). Where the process's own group has no memory controller, the next above that has one
    is its group for memory. `root` is put before every path, for recorded hosts.
    """
    tree = Tree(root)
    groups = read_groups(tree)
    paths = [f"{directory}/memory.events" for directory in groups.v2()]
    paths += [f"{directory}/memory.oom_control" for directory in groups.v1("memory")[:1]]
    found = (tree.table(path).get(_NAME, "") for path in paths)
    return next((int(text) for text in found if text.isdecimal()), None)
