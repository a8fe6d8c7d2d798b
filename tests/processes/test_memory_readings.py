"""Do the readings of memory agree with what real processes in a real memory group do?

A memory group is made below the test's own and removed afterwards; where that is not allowed those tests skip.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import launcher
from launcher.limits.footprint import THREAD_BYTES, Footprint, read_footprint
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.memory_group import MemoryGroup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of /proc and control groups")

MB = 10**6
HELD_BYTES = 60 * MB
NEAR_BYTES = 3 * MB  # the kernel adds its counters up in batches for each CPU (memcontrol.c: MEMCG_CHARGE_BATCH)
NOBODY = 65534
# What it is told to do, it does: a JSON text a line; what it leaves in `answer` goes back.
OBEDIENT = """
import json, os, signal, sys, time
from launcher.limits.footprint import read_footprint
from launcher.limits.usage import UsageReader
usage = UsageReader()
names = globals()
for line in sys.stdin:
    answer = None
    exec(json.loads(line), names)
    print(json.dumps(answer), flush=True)
"""
USAGE = "u = usage(); answer = u and [u.anon_bytes, u.shmem_bytes, u.needed_bytes, u.source]"
FORK = """
told, tell = os.pipe()
answer = os.fork()
if answer == 0:
    block[:{written}:4096] = bytes(len(range(0, {written}, 4096)))
    os.write(tell, b"x")
    signal.pause()
os.read(told, 1)
"""
THREADS = """
import threading
event = threading.Event()
for _ in range(40): threading.Thread(target=event.wait, daemon=True).start()
"""
END = "os.kill({pid}, signal.SIGKILL); os.waitpid({pid}, 0)"


@dataclass(frozen=True, slots=True)
class Child:
    """A process that does as it is told."""

    popen: subprocess.Popen[str]

    def do(self, code: str) -> Any:
        """Let it carry out `code`; return what that left in `answer`."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(json.dumps(code) + "\n")
        self.popen.stdin.flush()
        return json.loads(self.popen.stdout.readline())

    def usage(self) -> Usage:
        """Return what it reads of its group."""
        return Usage(*self.do(USAGE))

    def holds(self) -> None:
        """Let it write to 60 MB of its own, in `block`."""
        self.do(f"block = bytearray(b'x') * {HELD_BYTES}")

    def fork(self, written: int) -> int:
        """Let it fork a child that writes to the first bytes of `block` and waits; return that one's pid."""
        pid: int = self.do(FORK.format(written=written))
        return pid


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process in a group reads."""

    anon: int
    shmem: int
    needed: int
    source: str


@contextmanager
def child(group: MemoryGroup | None = None) -> Iterator[Child]:
    """Start a process in `group`; it and what it forked end with the block."""
    environ = {**os.environ, "PYTHONPATH": str(Path(launcher.__file__).parents[1])}
    argv = [*(group.inside if group else ()), sys.executable, "-c", OBEDIENT]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=environ, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as popen:
        try:
            yield Child(popen)
        finally:
            os.killpg(popen.pid, signal.SIGKILL)


def footprint(pid: int) -> Footprint:
    """Return the footprint of a process that is there."""
    found = read_footprint(pid)
    assert found is not None
    return found


def pss_anon(group: MemoryGroup) -> int:
    """Return the sum over the processes of `group` of their part of anonymous memory, in bytes."""
    tables = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in group.pids)
    return sum(int(table.partition("Pss_Anon:")[2].split()[0]) * 1024 for table in tables)


def test_anonymous_memory_is_needed(group: MemoryGroup) -> None:
    """60 MB that a process in the group writes to are 60 MB more that the group needs, until they are given back."""
    with child(group) as process:
        before = process.usage()
        process.holds()
        during = process.usage()
        process.do("del block")
        after = process.usage()

    assert str(group.path) == before.source
    assert HELD_BYTES == pytest.approx(during.anon - before.anon, abs=NEAR_BYTES)
    assert HELD_BYTES == pytest.approx(during.needed - before.needed, abs=NEAR_BYTES)
    assert before.needed == pytest.approx(after.needed, abs=NEAR_BYTES)


def test_shared_memory_is_needed_after_its_writer(group: MemoryGroup) -> None:
    """60 MB in /dev/shm are needed, also when their writer has ended; removing the file gives them back."""
    file = Path(f"/dev/shm/launcher-readings-{os.getpid()}")  # noqa: S108 - the place is the subject
    try:
        with child(group) as reader:
            before = reader.usage()
            with child(group) as writer:
                writer.do(f"file = open({str(file)!r}, 'wb'); file.write(b'x' * {HELD_BYTES}); file.close()")
            during = reader.usage()
            file.unlink()
            after = reader.usage()
    finally:
        file.unlink(missing_ok=True)

    assert HELD_BYTES == pytest.approx(during.shmem - before.shmem, abs=NEAR_BYTES)
    assert HELD_BYTES == pytest.approx(during.needed - before.needed, abs=NEAR_BYTES)
    assert before.needed == pytest.approx(after.needed, abs=NEAR_BYTES)


def test_page_cache_is_not_needed(group: MemoryGroup, tmp_path: Path) -> None:
    """A file of twice the group's limit fills the group, and changes nothing in what it needs."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() == "tmpfs":
        pytest.skip("the folder for tests is a tmpfs, which is shared memory")
    group.limit(HELD_BYTES)
    with child(group) as process:
        before, cached_before = process.usage(), group.stat("cache")
        process.do(f"file = open({str(tmp_path / 'large')!r}, 'wb+')")
        for _ in range(2 * HELD_BYTES // MB):
            process.do(f"_ = file.write(b'x' * {MB})")
        process.do(f"file.flush(); os.fsync(file.fileno()); file.seek(0)\nwhile file.read({MB}): pass")
        during, cached_during = process.usage(), group.stat("cache")

    assert cached_during - cached_before > HELD_BYTES // 2, "the control: there is cache in the group"
    assert before.needed == pytest.approx(during.needed, abs=NEAR_BYTES)


def test_what_a_fork_shares_is_not_its_own() -> None:
    """A forked child that shares 60 MB has little of its own, until it writes to them; its resident memory hides it."""
    with child() as process:
        process.holds()
        shares, writes = (footprint(process.fork(written)) for written in (0, HELD_BYTES))

    assert shares.is_exact
    assert shares.own_bytes < 10 * MB
    assert HELD_BYTES < writes.own_bytes < HELD_BYTES + 10 * MB
    assert shares.rss_bytes > HELD_BYTES
    assert shares.pss_bytes < writes.pss_bytes
    assert shares.peak_rss_bytes >= shares.rss_bytes


@pytest.mark.parametrize("written", [0, HELD_BYTES // 2])
def test_own_is_what_an_end_gives_back(group: MemoryGroup, written: int) -> None:
    """When a process ends, what the group needs falls by what the process had for itself."""
    with child(group) as process:
        process.holds()
        pid = process.fork(written)
        before, own = process.usage(), footprint(pid).own_bytes
        process.do(END.format(pid=pid))
        until(lambda: process.usage().needed < before.needed - own + MB, f"{own} of {before.needed} bytes given back")
        after = process.usage()

    assert own == pytest.approx(before.needed - after.needed, abs=MB)


def test_threads_cost_the_kernel(group: MemoryGroup) -> None:
    """Forty threads that wait make a process own as much more as the group then needs."""
    with child(group) as process:
        before, own = process.usage(), footprint(process.popen.pid).own_bytes
        process.do(THREADS)
        more = footprint(process.popen.pid).own_bytes - own

        assert more > 40 * THREAD_BYTES
        until(lambda: more == pytest.approx(process.usage().needed - before.needed, rel=0.2), f"{more} more needed")


def test_the_parts_add_up_to_the_group(group: MemoryGroup) -> None:
    """What the group counts as anonymous is the sum of its processes' parts, to a megabyte."""
    with child(group) as process:
        process.holds()
        for written in (0, HELD_BYTES // 2, HELD_BYTES):
            process.fork(written)
        until(lambda: abs(pss_anon(group) - process.usage().anon) < MB, "the sum to be the group's")

        assert process.usage().anon > 2.5 * HELD_BYTES


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_the_process_of_another_user() -> None:
    """A reader without rights guesses and says so, rather too much; root reads exactly, whoever the process is."""
    with child() as process, child() as other:
        process.holds()
        pid = process.fork(0)
        other.do(f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})")
        guess = Footprint(*other.do(f"from dataclasses import astuple; answer = astuple(read_footprint({pid}))"))
        exact, of_other = footprint(pid), footprint(other.popen.pid)

    assert (False, True, True) == (guess.is_exact, exact.is_exact, of_other.is_exact)
    assert exact.own_bytes < 10 * MB
    assert guess.own_bytes > HELD_BYTES
    assert (exact.rss_bytes, exact.peak_rss_bytes) == (guess.rss_bytes, guess.peak_rss_bytes)
