"""Is a worker that leaks replaced before anybody notices?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.leaking import LEAKING, clients
from support.monitored import ready_steered
from support.pool import both_servers, linux_only

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from support.projects import MakeProject
    from support.spawning import Launch

MIB = 1 << 20
LIMIT = 120 * MIB


def pids(events: Iterable[Mapping[str, Any]]) -> set[int]:
    """Return whom they are about."""
    return {event["pid"] for event in events}


@linux_only
@both_servers
def test_a_leak(launch: Launch, project: MakeProject, server: str) -> None:
    """Workers that leak 100 MB/s are replaced one after the other: no request fails, and nothing looks like a crash."""
    folder = project({"main.py": LEAKING})
    words = ("--worker-memory-limit", "120MiB", "--crash-dir", str(folder / "crashes"))
    steered = ready_steered(launch, folder, server, *words)
    pool = steered.pool
    first = pool.ready(2)
    with clients(pool) as got:
        pool.until(lambda: first <= pids(pool.named("worker_stopped", because="memory")), "that both are replaced")
        after = got.answers
        pool.until(lambda: got.answers > after, "an answer of who has come")
    oversized = pool.named("worker_oversized")
    status = steered.status()
    memory = status["memory"]
    reports = json.loads(steered.local("/crashes")[1])["crashes"]

    assert [] == got.failures
    assert first <= pids(oversized)
    assert {LIMIT} == {event["limit_bytes"] for event in oversized}
    assert all(LIMIT < event["private_bytes"] < 10 * LIMIT for event in oversized)
    assert [] == pool.named("worker_died")
    assert [] == reports
    assert (0, LIMIT) == (status["restarts"], memory["worker_limit_bytes"])
    assert memory["recycled"] >= len(first)
    assert pool.end() == 0
