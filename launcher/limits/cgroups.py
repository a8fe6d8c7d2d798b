"""Which control groups hold this process, as far as it can see?

A host may run cgroup v2, v1, or both at once with each controller in one of them; the kernel never has a controller
in two. So nothing is decided per host: for each controller the visible groups of either version are listed, and
whichever has the controller's files answers (cgroups(7), "Cgroups v1/v2" and "/proc/pid/cgroup").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.limits.tree import Tree

V1, V2 = 1, 2
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted hierarchy: `root` is the group that appears at `point`; `controllers` is empty for v2."""

    version: int
    controllers: frozenset[str]
    root: str
    point: str


# Where every distribution mounts them; used only when /proc/self/mountinfo cannot be read (hidepid, odd sandboxes).
_USUAL_MOUNTS = (
    Mount(V2, frozenset(), "/", "/sys/fs/cgroup"),
    Mount(V1, frozenset({"memory"}), "/", "/sys/fs/cgroup/memory"),
    Mount(V1, frozenset({"cpu"}), "/", "/sys/fs/cgroup/cpu"),
    Mount(V1, frozenset({"cpuset"}), "/", "/sys/fs/cgroup/cpuset"),
)


@dataclass(frozen=True, slots=True)
class Groups:
    """The hierarchies this process sees and its path in each; the v2 path has the key ''."""

    mounts: tuple[Mount, ...]
    paths: dict[str, str]

    def v1(self, controller: str) -> tuple[str, ...]:
        """Return the directories of the v1 groups that may limit `controller`, the process's own first."""
        mounts = [mount for mount in self.mounts if mount.version == V1 and controller in mount.controllers]
        return _lineage(mounts, self.paths.get(controller, "/"))

    def v2(self) -> tuple[str, ...]:
        """Return the directories of the v2 groups, the process's own first, the visible top last."""
        return _lineage([mount for mount in self.mounts if mount.version == V2], self.paths.get("", "/"))


def read_groups(tree: Tree) -> Groups:
    """Return the visible groups from `/proc/self/mountinfo` and `/proc/self/cgroup`; never raises."""
    mountinfo = tree.text("/proc/self/mountinfo")
    mounts = _USUAL_MOUNTS if mountinfo is None else tuple(_mounts(mountinfo))
    return Groups(mounts, dict(_paths(tree.text("/proc/self/cgroup") or "")))


def _mounts(mountinfo: str) -> Iterator[Mount]:
    """Yield the cgroup mounts; the optional fields before the dash vary in number (proc_pid_mountinfo(5))."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        where, what = left.split(), right.split()
        if len(where) > 4 and what and what[0] in {"cgroup", "cgroup2"}:  # noqa: PLR2004 - 4: index of the mount point
            version = V2 if what[0] == "cgroup2" else V1
            controllers = frozenset(what[-1].split(",")) if version == V1 else frozenset[str]()
            yield Mount(version, controllers, _unescaped(where[3]), _unescaped(where[4]))


def _paths(self_cgroup: str) -> Iterator[tuple[str, str]]:
    """Yield controller -> path for every controller of every `id:controllers:path` line."""
    for line in self_cgroup.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            yield from ((controller, path) for controller in controllers.split(","))


def _lineage(mounts: list[Mount], path: str) -> tuple[str, ...]:
    """Return the directories from the group at `path` up to the mount points that show it.

    A path outside every mount's root means that a namespace or bind mount hides the way to it: what is mounted
    first is then the process's own group, as container runtimes arrange it.
    """
    found = [directory for mount in mounts for directory in _climb(mount, path)]
    return tuple(dict.fromkeys(found or [mount.point for mount in mounts[:1]]))


def _climb(mount: Mount, path: str) -> Iterator[str]:
    """Yield the directories of `path` and its ancestors inside `mount`; nothing when it is not below its root."""
    own, root = PurePosixPath(path), PurePosixPath(mount.root)
    if ".." in own.parts or ".." in root.parts or not own.is_relative_to(root):
        return
    inside = own.relative_to(root)
    for step in (inside, *inside.parents):
        if step != PurePosixPath("."):
            yield f"{mount.point}/{step}"
    yield mount.point


def _unescaped(text: str) -> str:
    r"""Return `text` with the kernel's `\040` for a space and its like undone."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
