"""Does a pool keep to what `--memory` allows it while it runs, on a machine with much more?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from support.leaking import LEAKING, clients
from support.monitored import ready_steered
from support.pool import linux_only

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = linux_only

MIB = 1 << 20
SMALL = 200  # two small workers have some 80 MiB
FOR_TWO = 300  # three small workers have some 80 MiB, and what they hold
HELD = "KEPT.append(b'x' * (100 << 20))"  # by each worker, from its start on


def test_a_leak(launch: Launch, project: MakeProject) -> None:
    """Workers that leak are recycled when the pool has more than it may have, and no request fails."""
    steered = ready_steered(launch, project({"main.py": LEAKING}), "uvicorn", "--memory", f"{SMALL}MiB")
    pool = steered.pool
    with clients(pool, pause_s=0.2) as got:
        pool.seen("worker_recycled", because="memory")
        after = got.answers
        pool.until(lambda: got.answers > after, "an answer of who has come")
    (said,) = pool.named("budget_exceeded")

    assert [] == got.failures
    assert said["used_bytes"] > said["budget_bytes"] == SMALL * MIB
    assert "is recycled" in said["because"]
    assert ([], []) == (pool.named("pool_shrunk"), pool.named("worker_died"))
    assert 0 == pool.end()


def test_more_than_fit(launch: Launch, project: MakeProject) -> None:
    """Three workers as somebody has said, of which two fit in what somebody has said, too: two are left for good."""
    folder = project({"main.py": LEAKING + "\n" + HELD})
    steered = ready_steered(launch, folder, "gunicorn", "--memory", f"{FOR_TWO}MiB", workers=3)
    pool = steered.pool
    (shrunk,) = pool.seen("pool_shrunk")
    pool.until(lambda: steered.status()["ready"] == 2 == len(steered.status()["workers"]), "two workers")
    pool.until(lambda: not (told := steered.status()["memory"])["over_budget"] and told["pool_bytes"], "room again")
    memory = steered.status()["memory"]

    assert (3, 2) == (shrunk["before"], shrunk["wanted"])
    assert "and --memory allows it 300 MiB: the workers are equally large" in shrunk["because"]
    assert memory["pool_bytes"] < memory["budget_bytes"] == 300 * MIB
    assert (1, False) == (memory["given_up"], memory["pressed"])
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded", replaced=2)
    later = pool.until(lambda: (now := steered.status())["memory"]["pool_bytes"] and now, "a look after the reload")
    assert (2, False) == (later["ready"], later["memory"]["over_budget"])
    assert 1 == len(pool.named("budget_exceeded")) == len(pool.named("pool_shrunk"))


def test_whoever_may_overcommit(launch: Launch, project: MakeProject) -> None:
    """Has said so: the budget is what the size was made of, and no limit."""
    folder = project({"main.py": LEAKING + "\n" + HELD})
    steered = ready_steered(launch, folder, "gunicorn", "--memory", "150MiB", "--allow-overcommit")
    memory = steered.status()["memory"]

    assert 150 * MIB == memory["budget_bytes"] < memory["used_bytes"]
    assert "over_budget" not in memory
    assert [] == steered.pool.named("budget_exceeded")
