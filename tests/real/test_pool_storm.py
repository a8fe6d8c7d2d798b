"""Does a pool come to rest at the size it says, whatever signals came?

POOL_STORM_S sets for how long they come (60: a thousand), POOL_STORM_SEED which.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from support.pool import APP, descriptors, each_pool, linux_only, start_pool

if TYPE_CHECKING:
    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = pytest.mark.race

STORM_S = float(os.environ.get("POOL_STORM_S", "6"))
PER_SECOND = 1000 / 60
WORKERS = 2
MOST = 4  # two processors
# So many of each, on the average. Each kill in a minute doubles the pause before the next start.
SIGNALS = {
    signal.SIGHUP: 10,
    signal.SIGTTIN: 10,
    signal.SIGTTOU: 10,
    signal.SIGUSR1: 10,
    signal.SIGCHLD: 10,
    signal.SIGKILL: 2,
}


def wanted(pool: Pool) -> int:
    """Return the size that the pool says it wants."""
    sizes: list[int] = [event["wanted"] for event in pool.named("pool_resized")]
    return sizes[-1] if sizes else WORKERS


def strike(pool: Pool, dice: random.Random) -> None:
    """Send the arbiter a signal at random, or kill a worker."""
    (signum,) = dice.choices(tuple(SIGNALS), tuple(SIGNALS.values()))
    if signum == signal.SIGTTIN and wanted(pool) >= MOST:
        signum = signal.SIGTTOU
    if signum != signal.SIGKILL:
        pool.tell(signum)
    elif workers := pool.workers():
        with contextlib.suppress(ProcessLookupError):
            pool.kill(dice.choice(workers))


def at_rest(pool: Pool, quiet_s: float = 1.2) -> bool:
    """Tell whether for so long there were as many workers as wanted, always the same, and no zombie."""
    workers, until_s = pool.workers(), time.monotonic() + quiet_s
    while time.monotonic() < until_s:
        if pool.workers() != workers or len(workers) != wanted(pool) or pool.zombies():
            return False
        time.sleep(0.1)  # the wait is what is tested: nothing happens in it
    return True


@linux_only
@pytest.mark.timeout(120 + 4 * STORM_S)
@each_pool
def test_a_storm_of_signals(launch: Launch, project: MakeProject, server: str) -> None:
    """Reloads, sizes, log signals, kills: the pool ends at its size; no zombie, and not one descriptor more."""
    seed = int(os.environ.get("POOL_STORM_SEED", "0")) or random.randrange(1, 10**6)  # noqa: S311 - no secret
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(seed)  # noqa: S311 - as above
    pool = start_pool(launch, project({"main.py": APP}), server, "--restart-intensity", "100000")
    pool.ready(WORKERS)
    pool.until(lambda: at_rest(pool, 0.5), "the start")
    before = descriptors(pool.pid)
    end = time.monotonic() + STORM_S
    count = 0
    while time.monotonic() < end:
        strike(pool, dice)
        count += 1
        time.sleep(dice.uniform(0, 2 / PER_SECOND))  # the pace is what was asked for
    print("signals", count)  # noqa: T201 - as above
    pool.until(lambda: at_rest(pool), "rest", 60)
    size = wanted(pool)
    assert size == len(pool.workers())
    for _ in range(abs(size - WORKERS)):
        sizes = len(pool.named("pool_resized"))
        pool.tell(signal.SIGTTIN if size < WORKERS else signal.SIGTTOU)
        pool.seen("pool_resized", sizes + 1)
    pool.until(lambda: at_rest(pool), "the first size", 60)

    deaths = pool.named("worker_died") + pool.named("worker_boot_failed")

    assert WORKERS == wanted(pool)
    assert {event.get("signal") for event in deaths} <= {"SIGKILL"}  # nobody died of a reload or of a log's rotation
    assert before == descriptors(pool.pid)
    assert pool.asked()["pid"] in pool.workers()
    assert pool.end() == 0
