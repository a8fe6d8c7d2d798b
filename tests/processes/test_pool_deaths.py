"""What becomes of a pool whose workers die, now and then or always?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from support.pool import APP, asking, both_servers, each_bare, each_pool, journal, noted, start_bare, start_pool
from support.waiting import until

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

# Each worker ends so many seconds after it was imported, always.
DIES = """
import threading
threading.Timer({after_s}, lambda: os._exit(7)).start()
"""
MOST_LINES = 120


@each_pool
def test_a_dependency_that_is_away(launch: Launch, project: MakeProject, server: str) -> None:
    """A killed worker cannot come back: the other three answer all, and it comes back with the dependency."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, workers=4)
    before = pool.ready(4)
    (folder / "away").touch()
    victim = min(before)
    pool.kill(victim)
    with asking(pool) as asked:
        failed = pool.seen("worker_boot_failed")[0]
        asked.more(pool)
        (folder / "away").unlink()
        after = pool.ready(5, timeout_s=35)  # the delays grow
    (died,) = pool.named("worker_died")

    assert [] == asked.failures
    assert asked.pids <= after - {victim}
    assert (victim, "SIGKILL") == (died["pid"], died["signal"])
    assert failed["pid"] not in before
    assert set(pool.workers()) == after - {victim}
    assert pool.end() == 0


@both_servers
def test_a_start_that_hangs_while_others_serve(launch: Launch, project: MakeProject, server: str) -> None:
    """A replacement that hangs, in its import and then in its lifespan, is killed with its stack; the other serves."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--startup-timeout", "3s")
    before = pool.ready(2)
    (folder / "hang-import").touch()
    pool.kill(min(before))
    with asking(pool) as asked:
        pool.until(lambda: noted(folder)["hangs"] == 1, "the import")
        (folder / "hang-lifespan").touch()
        (folder / "hang-import").unlink()
        pool.until(lambda: noted(folder)["hangs"] == 2, "the lifespan")
        (folder / "hang-lifespan").unlink()
        pool.seen("worker_boot_failed", 2)
        pool.ready(3)
    stages = [event["stage"].lower() for event in pool.named("worker_hung")]

    assert [] == asked.failures
    assert max(before) in asked.pids
    assert ["importing", "lifespan"] == stages
    assert [] == [name for name in ("hangs_in_import", "hangs_in_lifespan") if name not in pool.launched.stderr], (
        pool.launched
    )
    assert max(before) in pool.workers()


@each_pool
def test_workers_that_die_after_a_second(launch: Launch, project: MakeProject, server: str) -> None:
    """Ready workers that always die end the pool with 70, after few starts and with a short log."""
    folder = project({"main.py": APP + DIES.format(after_s=1)})
    pool = start_pool(launch, folder, server)

    assert pool.launched.wait() == 70, pool.launched
    assert len(pool.named("worker_started")) <= 10
    assert len(pool.launched.stderr.splitlines()) <= MOST_LINES
    assert 1 == len(pool.named("pool_gave_up", code=70))


@both_servers
def test_the_death_of_a_worker_is_told(launch: Launch, project: MakeProject, server: str) -> None:
    """A segmentation fault in a request: the signal, the function and the request in flight, and a replacement."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server)
    pool.ready(2)
    assert pool.ask("/segfault?token=secret-4711") is None
    (died,) = pool.seen("worker_died")
    pool.ready(3)

    assert "SIGSEGV" == died["signal"]
    assert "in dies" in died["stack"]
    assert "/segfault" in str(died["in_flight"])
    assert "secret-4711" not in pool.launched.stderr
    assert [] == pool.zombies()


@each_bare
def test_control_a_dependency_that_is_away(spawn: Spawner, project: MakeProject, bare: str) -> None:
    """The bare server throws its three healthy workers away."""
    folder = project({"main.py": APP})
    pool = start_bare(spawn, folder, bare, workers=4)
    pool.until(lambda: noted(folder)["startup"] == 4, "four workers")
    (folder / "away").touch()
    pool.kill(pool.asked()["pid"])
    pool.launched.wait()

    assert 4 == noted(folder)["startup"]


@each_bare
def test_control_workers_that_die(spawn: Spawner, project: MakeProject, bare: str) -> None:
    """The bare server starts them for ever, without a pause."""
    folder = project({"main.py": APP + DIES.format(after_s=0.2)})
    pool = start_bare(spawn, folder, bare)
    until(lambda: journal(folder).count("import") > 10, "more starts", 30)

    assert pool.launched.running
    pool.tell(signal.SIGKILL)  # no worker would be there to be told
