"""Is what is left told of the group that has least left, on every kind of host?"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from launcher.limits.room import FOUND_S, Room, RoomReader
from launcher.limits.usage import GroupUsage
from support.recorded_hosts import recorded

if TYPE_CHECKING:
    from pathlib import Path

MIB, KIB = 1024**2, 1024
TOP = "/sys/fs/cgroup"
HOST_BYTES = 16384000 * KIB
POD, WEB = f"{TOP}/pods.slice/pod.slice", f"{TOP}/pods.slice/pod.slice/web.service"
BATCH = f"{TOP}/memory/batch"
OF_V1 = "cgroup v1 hierarchical_memory_limit of"


def room(name: str, root: Path, **environ: str) -> Room | None:
    """Return the room on the recorded host `name`."""
    return RoomReader(recorded(name, root), environ)()


@pytest.mark.parametrize(
    ("name", "limit_bytes", "source", "usage"),
    [
        # 512 MiB of which 224 are held; the pod has 1000 (high, max is more) of which its containers hold 900
        ("room-v2-fuller-ancestor", 1000 * MIB, f"cgroup v2 memory.high of {POD}", (850, 40, 10, POD)),
        ("room-v1-fuller-ancestor", 1000 * MIB, f"{OF_V1} {BATCH}", (850, 40, 10, BATCH)),
        ("room-v1-no-hierarchy", 512 * MIB, f"{OF_V1} {BATCH}/web", (200, 20, 4, f"{BATCH}/web")),
        ("usage-v1", 256 * MIB, f"{OF_V1} {TOP}/memory", (90, 20, 5, f"{TOP}/memory")),
    ],
)
def test_the_one_with_least_left(
    name: str, limit_bytes: int, source: str, usage: tuple[int, int, int, str], tmp_path: Path
) -> None:
    """A limit is held against what its own group holds; the one nearest to its end is told, if it binds us at all."""
    anon, shmem, kernel, of = usage
    held = GroupUsage(anon * MIB, shmem * MIB, kernel * MIB, of)

    assert Room(limit_bytes, source, is_limited=True, usage=held) == room(name, tmp_path)


def test_who_asks_says_what_is_least(tmp_path: Path) -> None:
    """By bytes it is the pod; by what another measure makes of it, the group itself."""
    read = RoomReader(recorded("room-v2-fuller-ancestor", tmp_path), {}, left=lambda room: -room.free_bytes)
    found = read()

    assert found is not None
    assert (512 * MIB, WEB) == (found.limit_bytes, found.usage.source)


def test_what_is_left(tmp_path: Path) -> None:
    """It is the limit without what cannot be given back; a limit that was lowered leaves less than nothing."""
    seen = room("room-v2-fuller-ancestor", tmp_path)
    (tmp_path / f"{POD}/memory.high".removeprefix("/")).write_text(f"{800 * MIB}\n")
    lowered = RoomReader(tmp_path, {})()

    assert [100 * MIB, -100 * MIB] == [one and one.free_bytes for one in (seen, lowered)]


def test_the_own_group_when_it_is_fuller(tmp_path: Path) -> None:
    """The parent's limit does not bind while the own group has less left."""
    root = recorded("room-v2-fuller-ancestor", tmp_path)
    (root / f"{WEB}/memory.stat".removeprefix("/")).write_text(f"anon {450 * MIB}\nkernel 0\nshmem 0\n")
    seen = RoomReader(root, {})()

    assert seen is not None
    assert (f"cgroup v2 memory.max of {WEB}", 62 * MIB) == (seen.limit_source, seen.free_bytes)


@pytest.mark.parametrize(
    ("environ", "source"),
    [({"DYNO_RAM": "300"}, "DYNO_RAM=300"), ({"DYNO_RAM": "600"}, f"cgroup v2 memory.high of {POD}")],
)
def test_what_a_platform_gives(environ: dict[str, str], source: str, tmp_path: Path) -> None:
    """Its size is held against what the own group holds, and is one limit among the others."""
    seen = room("room-v2-fuller-ancestor", tmp_path, **environ)

    assert seen is not None
    assert source == seen.limit_source
    assert (WEB if "DYNO" in source else POD) == seen.usage.source


def test_no_limit(tmp_path: Path) -> None:
    """Without a limit it is the machine's memory against what the own group holds."""
    root = recorded("room-v2-fuller-ancestor", tmp_path)
    for group, name in ((WEB, "max"), (POD, "max"), (POD, "high")):
        (root / f"{group}/memory.{name}".removeprefix("/")).write_text("max\n")
    held = GroupUsage(200 * MIB, 20 * MIB, 4 * MIB, WEB)

    assert Room(HOST_BYTES, "MemTotal of the host", is_limited=False, usage=held) == RoomReader(root, {})()


def test_a_machine(tmp_path: Path) -> None:
    """Where no group counts for us the machine does: what is not available is needed; its parts add up to that."""
    held = GroupUsage(800000 * KIB, 100000 * KIB, 200000 * KIB, "/proc/meminfo")

    assert Room(2000000 * KIB, "MemTotal of the host", is_limited=False, usage=held) == room("room-v2-vm", tmp_path)


def test_a_machine_of_a_platform(tmp_path: Path) -> None:
    """A platform whose size is the machine's is held against the machine; a smaller one has nothing to hold against."""
    whole = room("room-v2-vm", tmp_path, FLY_VM_MEMORY_MB="2048")
    part = room("room-v2-vm", tmp_path, DYNO_RAM="512")

    assert whole is not None
    assert (2000000 * KIB, True, "/proc/meminfo") == (whole.limit_bytes, whole.is_limited, whole.usage.source)
    assert part is None


@pytest.mark.parametrize("name", ["v1-without-stat", "v2-docker", "fly"])
def test_nothing_tells(name: str, tmp_path: Path) -> None:
    """A limit of which nothing tells what is held, and a machine that does not say what is available, are no answer."""
    assert room(name, tmp_path) is None


def test_no_proc(tmp_path: Path) -> None:
    """Where there is no /proc, as on macOS, there is no answer."""
    assert RoomReader(tmp_path, {})() is None


@pytest.mark.parametrize("content", ["", "max max", "-5", "9" * 5000, "\x00\xff", "anon 5"])
@pytest.mark.parametrize("file", ["memory.max", "memory.high", "memory.stat"])
@pytest.mark.parametrize("where", [POD, WEB])
def test_odd_files(where: str, file: str, content: str, tmp_path: Path) -> None:
    """What makes no sense is passed over; what the others tell is the answer."""
    root = recorded("room-v2-fuller-ancestor", tmp_path)
    (root / f"{where}/{file}".removeprefix("/")).write_text(content, encoding="latin-1")
    seen = RoomReader(root, {})()

    assert seen is not None
    assert seen.is_limited


@pytest.mark.parametrize("content", ["", "hierarchical_memory_limit " + "9" * 5000, "total_rss ²"])
@pytest.mark.parametrize("where", ["batch", "batch/web"])
def test_odd_v1_files(where: str, content: str, tmp_path: Path) -> None:
    """Likewise in v1; what is left may not be known then."""
    root = recorded("room-v1-fuller-ancestor", tmp_path)
    (root / "sys/fs/cgroup/memory" / where / "memory.stat").write_text(content)
    seen = RoomReader(root, {})()

    assert seen is None or seen.is_limited


@dataclass
class Clock:
    """A clock that stands until it is set."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_read_again_and_again(tmp_path: Path) -> None:
    """Limits are read at each call; a group that cannot be read any more is sought at once, another one each minute."""
    root, clock = recorded("room-v2-fuller-ancestor", tmp_path), Clock()
    reader = RoomReader(root, {}, clock)
    seen = [reader()]
    (root / f"{POD}/memory.high".removeprefix("/")).write_text("max\n")
    seen.append(reader())
    new = root / "sys/fs/cgroup/new"
    new.mkdir()
    for name, content in (("max", 64 * MIB), ("current", 9), ("stat", f"anon {MIB}")):
        (new / f"memory.{name}").write_text(f"{content}\n")
    (root / "proc/self/cgroup").write_text("0::/new\n")
    seen.append(reader())
    clock.now = FOUND_S
    seen.append(reader())
    (new / "memory.stat").unlink()
    (root / "proc/self/cgroup").write_text("0::/pods.slice\n")
    seen.append(reader())

    assert [1000 * MIB, 1100 * MIB, 1100 * MIB, 64 * MIB, HOST_BYTES] == [one and one.limit_bytes for one in seen]


def test_this_machine_is_read_in_no_time() -> None:
    """A call costs a fraction of a millisecond: it is made each second. The bound leaves room for a busy machine."""
    reader, took_s = RoomReader(), []
    seen = reader()
    for _ in range(50):
        begun = time.perf_counter()
        reader()
        took_s.append(time.perf_counter() - begun)

    assert seen is None or seen.limit_bytes > 0
    assert statistics.median(took_s) < 0.002
