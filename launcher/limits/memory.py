"""How much memory may be used?

The lowest of: cgroup v2 `memory.max` and `memory.high` over the visible ancestors, cgroup v1
`hierarchical_memory_limit`, and what the platform says it gave. A limit of the host's total or more is none: the
kernel's "unlimited" of v1 depends on the page size, so it is not compared with a constant.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from launcher.limits.tree import whole
from launcher.limits.values import Limit
from launcher.units import human_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from launcher.limits.cgroups import Groups
    from launcher.limits.tree import Tree

MIB = 1024**2
ASSUMED_BYTES = 1024**3  # what Paketo's memory calculator assumes too when a host says nothing at all
# Heroku's buildpacks export the dyno's size, Fly.io its machine's, both in MiB though they write MB.
_PLATFORM_VARIABLES = ("DYNO_RAM", "FLY_VM_MEMORY_MB")
_HIGH = "memory.high"


def read_memory(tree: Tree, groups: Groups, environ: Mapping[str, str]) -> tuple[Limit, bool]:
    """Return the lowest memory limit in bytes and True, or the host's total and False; never raises."""
    host = host_total(tree)
    by_group = [*_v2_limits(tree, groups), *_v1_limits(tree, groups)]
    real = [limit for limit in by_group if limit.value < host.value]
    lowest = min([*real, *given_limits(tree, environ, host)], key=lambda limit: limit.value, default=None)
    if lowest is None:
        return host, False
    _note_high(tree, lowest, real)
    _note_swap(tree, groups)
    _note_hidden(tree, groups)
    return lowest, True


def host_total(tree: Tree) -> Limit:
    """Return the memory of the machine: `/proc/meminfo`, elsewhere (macOS) what POSIX tells."""
    if total := whole(tree.table("/proc/meminfo").get("MemTotal", "")):
        return Limit(total * 1024, "MemTotal of the host")
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, and no POSIX system has to know the names
        size = -1
    if size > 0:
        return Limit(size, "physical memory of the host")
    tree.note(f"nothing tells how much memory this host has: {human_bytes(ASSUMED_BYTES)} are assumed")
    return Limit(ASSUMED_BYTES, "assumed, the host does not tell")


def _v2_limits(tree: Tree, groups: Groups) -> Iterator[Limit]:
    """Yield every `memory.max` and `memory.high` that is set, from the process's own group upwards."""
    for directory in groups.v2():
        yield from v2_limits_of(tree, directory)


def v2_limits_of(tree: Tree, directory: str) -> Iterator[Limit]:
    """Yield the `memory.max` and `memory.high` that one group has set."""
    for name in ("memory.max", _HIGH):
        size = tree.number(f"{directory}/{name}", none=("max",))
        if size is not None and size > 0:
            yield Limit(size, f"cgroup v2 {name} of {directory}")


def _v1_limits(tree: Tree, groups: Groups) -> Iterator[Limit]:
    """Yield the limit of v1: `hierarchical_memory_limit` counts every ancestor in force, even unseen ones.

    `memory.limit_in_bytes` of the leaf shows "unlimited" below a limited parent, and that of a parent does not
    bind where `use_hierarchy` is 0; it is read only where memory.stat tells nothing.
    """
    directories = groups.v1("memory")
    for directory in directories:
        if (limit := v1_limit_of(tree.table(f"{directory}/memory.stat"), directory)) is not None:
            yield limit
            return
    yield from v1_plain_limits(tree, directories)


def v1_limit_of(stat: Mapping[str, str], directory: str) -> Limit | None:
    """Return the limit that `stat`, the memory.stat of one group, tells: of the group or of whoever is above it."""
    size = whole(stat.get("hierarchical_memory_limit", ""))
    return None if size is None else Limit(size, f"cgroup v1 hierarchical_memory_limit of {directory}")


def v1_plain_limits(tree: Tree, directories: Iterable[str]) -> Iterator[Limit]:
    """Yield what each group itself was given, for where memory.stat does not tell what is in force."""
    for directory in directories:
        plain = tree.number(f"{directory}/memory.limit_in_bytes")
        if plain is not None and plain > 0:
            yield Limit(plain, f"cgroup v1 memory.limit_in_bytes of {directory}")


def given_limits(tree: Tree, environ: Mapping[str, str], host: Limit) -> Iterator[Limit]:
    """Yield the sizes that platforms put into the environment, in MiB there; never more than the machine has."""
    for name in _PLATFORM_VARIABLES:
        text = environ.get(name, "").strip()
        size = tree.as_number(text, name) if text else None
        if size is not None and size > 0:
            yield _within(host, Limit(size * MIB, f"{name}={size}"))


def _within(host: Limit, given: Limit) -> Limit:
    """Return what the platform gave, or what is left of it: the kernel keeps some of a small machine for itself."""
    return given if given.value <= host.value else Limit(host.value, f"{host.source}, a machine of {given.source}")


def _note_high(tree: Tree, lowest: Limit, limits: list[Limit]) -> None:
    """Say it when the limit in use is one that slows and does not kill."""
    if _HIGH not in lowest.source:
        return
    hard = min((limit for limit in limits if _HIGH not in limit.source), key=lambda limit: limit.value, default=None)
    above = f"lower than {human_bytes(int(hard.value))} ({hard.source})" if hard else "the only one set"
    tree.note(f"{lowest.source} is {above}: above it the kernel slows workers before it kills any")


def _note_swap(tree: Tree, groups: Groups) -> None:
    """Say it when the group may swap: too many workers then show as latency first, not as a kill."""
    if tree.table("/proc/meminfo").get("SwapTotal", "0") == "0":
        return
    for directory in groups.v2()[:1]:
        if tree.text(f"{directory}/memory.swap.max") not in {None, "0"}:
            tree.note(f"{directory} may swap: memory above the limit shows as slowness first")
    for directory in groups.v1("memory")[:1]:
        stat = tree.table(f"{directory}/memory.stat")
        both, memory = stat.get("hierarchical_memsw_limit", ""), stat.get("hierarchical_memory_limit", "")
        if both.isdecimal() and memory.isdecimal() and int(both) > int(memory):
            tree.note(f"{directory} may swap: memory above the limit shows as slowness first")


def _note_hidden(tree: Tree, groups: Groups) -> None:
    """Say it when groups above the top cannot be seen: the real root of v2 never has a memory.max."""
    top = groups.v2()[-1:]
    if top and tree.exists(f"{top[0]}/memory.max"):
        tree.note(f"limits above {top[0]} cannot be seen from here: the visible limit is used")
