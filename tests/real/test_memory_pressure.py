"""Is nobody killed for memory, below a real limit, and nothing done where there is no danger?

MEMORY_LEAK_S sets for how long the workers leak (300: the whole promise).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from support.leaking import LEAKING, clients
from support.monitored import ready_steered
from support.pool import both_servers, linux_only, start_bare, start_pool

if TYPE_CHECKING:
    from support.memory_group import MemoryGroup
    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

pytestmark = linux_only

MB = 10**6
LEAK_S = float(os.environ.get("MEMORY_LEAK_S", "9"))
LEAK_LIMIT = 512 * MB
CACHE_LIMIT = 256 * MB
ANSWERS = 10  # a second, of two clients
WATCHED_S = 4.0  # more looks than it takes to be pressed
REPORT_S = 10.0  # promised, from the touch on
# Of small ones: a look at all un-shares some 50 MB, so three workers that have done so do not fit.
OBJECTS = 500_000
RESERVE = 120 * MB
FOR_TWO = 580 * MB  # of which a fifth is left alone, with a second copy of the application for a reload
DONE_FOR_MEMORY = ("memory_pressed", "memory_exhausted", "worker_oversized", "worker_recycled", "pool_shrunk")


def done_for_memory(pool: Pool) -> list[str]:
    """Return what was done."""
    return [event for event in DONE_FOR_MEMORY if pool.named(event)]


@both_servers
@pytest.mark.timeout(90 + LEAK_S)
def test_a_leak(group: MemoryGroup, launch: Launch, project: MakeProject, server: str) -> None:
    """5 MiB with each of ten requests a second: nobody is killed, no request fails, and no worker is given up."""
    group.limit(LEAK_LIMIT)
    pool = start_pool(launch, project({"main.py": LEAKING}), server, before=group.inside)
    pool.ready(2)
    with clients(pool, pause_s=2 / ANSWERS) as got:
        pool.seen("worker_recycled", timeout_s=60, because="memory")
        begun = time.monotonic()
        pool.until(lambda: time.monotonic() - begun > LEAK_S - 6, "so many seconds", LEAK_S + 20)
        after = got.answers
        pool.until(lambda: got.answers > after, "an answer of who has come")
    peak = group.peak_bytes

    assert (0, []) == (group.oom_kills, got.failures)
    assert [] == pool.named("worker_died")
    assert [] == pool.named("pool_shrunk")
    assert peak <= LEAK_LIMIT
    assert got.answers > LEAK_S * ANSWERS / 3
    assert 0 == pool.end()


@both_servers
def test_the_bare_server_is_killed(group: MemoryGroup, spawn: Spawner, project: MakeProject, server: str) -> None:
    """The control: the same application under the server's own command, with more requests since that is quicker."""
    group.limit(LEAK_LIMIT)
    pool = start_bare(spawn, project({"main.py": LEAKING}), server, before=group.inside)
    pool.asked()
    with clients(pool, pause_s=0.01):
        pool.until(lambda: group.oom_kills, "a kill")

    assert group.oom_kills


@both_servers
def test_page_cache_is_no_alarm(group: MemoryGroup, launch: Launch, project: MakeProject, server: str) -> None:
    """A file of twice the limit is read again and again: the group is full of it, and nothing is said or done."""
    group.limit(CACHE_LIMIT)
    folder = project({"main.py": LEAKING})
    with (folder / "large").open("wb") as large:
        large.truncate(2 * CACHE_LIMIT)  # nothing but holes: they are cached as any other page
    pool = start_pool(launch, folder, server, "--worker-memory-estimate", "40MiB", before=group.inside)
    pool.ready(2)
    begun = time.monotonic()
    with clients(pool, "/read") as got:
        pool.until(lambda: time.monotonic() - begun > WATCHED_S and got.answers > 2, "a few looks")
        needed, cached = group.needed_bytes, group.stat("cache")

    assert [] == got.failures
    assert needed + cached > CACHE_LIMIT * 0.9
    assert cached > CACHE_LIMIT * 0.3
    assert [] == done_for_memory(pool)
    assert (0, 2) == (group.oom_kills, len(pool.workers()))


def test_what_is_loaded_late_is_no_leak(group: MemoryGroup, launch: Launch, project: MakeProject) -> None:
    """A first use that takes 200 MiB in two seconds, with others answered meanwhile, is let be: half is free then."""
    group.limit(LEAK_LIMIT)
    pool = start_pool(launch, project({"main.py": LEAKING}), "gunicorn", workers=1, before=group.inside)
    pool.ready(1)
    with clients(pool, "/", pause_s=0.05) as got:
        assert pool.asked("/load")
        after = got.answers
        pool.until(lambda: got.answers > after + 60, "two looks later")

    assert ([], []) == (got.failures, done_for_memory(pool))
    assert group.needed_bytes > 200 * MB


def touched(pool: Pool) -> None:
    """Have whoever answers look at all its objects."""
    assert pool.asked("/touch")


def test_what_requests_unshare(group: MemoryGroup, launch: Launch, project: MakeProject) -> None:
    """One worker of three touches what was loaded before the fork: there are two before the others do, too."""
    folder = project({"main.py": LEAKING, "objects": str(OBJECTS)})
    steered = ready_steered(launch, folder, "gunicorn", "--preload", workers=3, before=group.inside)
    pool = steered.pool
    pool.until(lambda: steered.status()["memory"].get("share_ratio"), "a first look at what they share")
    before = group.needed_bytes
    group.limit(before + RESERVE)
    begun = time.monotonic()
    touched(pool)
    (broken,) = pool.seen("sharing_broken")
    said_s = time.monotonic() - begun
    (shrunk,) = pool.seen("pool_shrunk")
    pool.until(lambda: len(pool.workers()) == 3, "two workers and what they were forked from")
    for _ in range(40):
        touched(pool)
    memory = pool.until(lambda: (told := steered.status()["memory"])["given_up"] and told, "the status")

    assert said_s < REPORT_S
    assert before + 3 * (broken["private_bytes"] - broken["was_bytes"]) > before + RESERVE
    assert (3, 2) == (shrunk["before"], shrunk["wanted"])
    assert "un-shared" in shrunk["because"]
    assert 0 == group.oom_kills
    assert [] == pool.named("worker_died")
    assert 1 == len(pool.named("sharing_broken")) == len(pool.named("pool_shrunk")) == memory["given_up"]


def test_a_pool_that_finds_its_size_has_fewer(group: MemoryGroup, launch: Launch, project: MakeProject) -> None:
    """Where nobody has said a number all are measured again when one has lost what it shared."""
    group.limit(FOR_TWO)
    folder = project({"main.py": LEAKING, "objects": str(OBJECTS)})
    told = ("--preload", "--max-workers", "2", "--allow-overcommit")
    pool = start_pool(launch, folder, "gunicorn", *told, workers=None, before=group.inside)
    pool.ready(2)
    pool.seen("worker_measured", workers=2)
    touched(pool)
    pool.seen("sharing_broken")
    (sized,) = pool.seen("pool_sized", wanted=1, before=2)

    assert "un-share" in sized["because"]
    assert (0, []) == (group.oom_kills, pool.named("pool_shrunk"))
