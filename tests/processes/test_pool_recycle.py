"""Are workers replaced for their requests or their age without a request that fails?"""

from __future__ import annotations

import itertools
import signal
from typing import TYPE_CHECKING

from support.pool import APP, asking, both_servers, each_pool, start_pool

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch


def test_hup_takes_what_gunicorns_file_says_now(launch: Launch, project: MakeProject) -> None:
    """Of gunicorn.conf.py not only the workers are read again, but also `max_requests`."""
    folder = project({"main.py": APP, "gunicorn.conf.py": "max_requests = 100000\n"})
    pool = start_pool(launch, folder, "gunicorn")
    pool.ready(2)
    (folder / "gunicorn.conf.py").write_text("max_requests = 5\n")
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded")
    for _ in range(20):
        pool.asked()
    (recycled, *_) = pool.seen("worker_recycled")

    assert "max-requests" == recycled["because"]
    assert pool.end() == 0


@each_pool
def test_max_requests(launch: Launch, project: MakeProject, server: str) -> None:
    """A worker that has had its requests is replaced, its replacement first; no request fails."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--max-requests", "30")
    first = pool.ready(2)
    with asking(pool) as asked:
        pool.seen("worker_recycled", 2)
        asked.more(pool)
    kinds = {"launcher.worker_ready": 1, "launcher.worker_stopped": -1}
    changes = [kinds.get(event.get("event", ""), 0) for event in pool.launched.events]
    sizes = list(itertools.accumulate(changes))
    recycled = pool.named("worker_recycled")[0]

    assert [] == asked.failures
    assert {2, 3} == set(sizes[sizes.index(2) :])
    assert (True, "max-requests") == (recycled["pid"] in first, recycled["because"])
    assert [] == pool.named("worker_died")
    assert pool.end() == 0


@both_servers
def test_max_worker_lifetime(launch: Launch, project: MakeProject, server: str) -> None:
    """A worker that is too old is replaced; no request fails, and the pool is never bigger by more than one."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--max-worker-lifetime", "2s")
    first = pool.ready(2)
    with asking(pool) as asked:
        pool.seen("worker_recycled", 2)
        pool.until(lambda: first.isdisjoint(pool.workers()), "two others")
        asked.more(pool)

    assert [] == asked.failures
    assert "lifetime" in pool.named("worker_recycled")[0]["because"]
    assert pool.end() == 0
