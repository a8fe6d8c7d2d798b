"""How does a pool end that was asked to?"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from launcher.serving.workers.haste import REPEAT_S
from support.launched import http_get
from support.pool import APP, SERVERS, asking, both_servers, each_bare, each_pool, noted, start_bare, start_pool

if TYPE_CHECKING:
    from pathlib import Path

    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

Answer = Future[tuple[int, str] | None]
SLOW_S = 1.5


def in_flight(pool: Pool, folder: Path, word: str = "slow", seconds: float = SLOW_S) -> Answer:
    """Begin a request; return when a worker has it."""
    with_thread = ThreadPoolExecutor(1)
    answer: Answer = with_thread.submit(http_get, pool.port, f"/{word}?s={seconds}", 60)
    with_thread.shutdown(wait=False)
    pool.until(lambda: noted(folder)[word] == 1, f"/{word}")
    return answer


@pytest.mark.parametrize(
    ("server", "whom"), [(server, "group") for server in SERVERS] + [("gunicorn", "arbiter"), ("uvicorn", "arbiter")]
)
def test_term_drains(launch: Launch, project: MakeProject, server: str, whom: str) -> None:
    """TERM, to the arbiter or to all: nobody is refused during the delay, what is in flight is answered; exit 0."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--drain-delay", "1s", "--graceful-timeout", "10s")
    pool.ready(2)
    answer = in_flight(pool, folder)
    with asking(pool) as asked:
        if whom == "group":
            os.killpg(pool.pid, signal.SIGTERM)
        else:
            pool.tell(signal.SIGTERM)
        pool.until(lambda: pool.named("pool_draining"), "the drain")
        until_s = time.monotonic() + 0.7
        pool.until(lambda: time.monotonic() > until_s, "most of the delay")
    code = pool.launched.wait()
    status, _ = answer.result() or (0, "")

    assert [] == asked.failures
    assert 0 == code, pool.launched
    assert 200 == status
    assert 2 == noted(folder)["shutdown"]
    assert [] == pool.named("worker_died")
    assert 1 == len(pool.named("pool_stopping"))


@both_servers
def test_int_is_as_term(launch: Launch, project: MakeProject, server: str) -> None:
    """INT lets the request in flight be answered, and the lifespan be shut down."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server)
    pool.ready(2)
    answer = in_flight(pool, folder, seconds=1)

    assert 0 == pool.end(signal.SIGINT)
    assert 200 == (answer.result() or (0, ""))[0]
    assert 2 == noted(folder)["shutdown"]


def no_repeat(pool: Pool) -> None:
    """Return when another signal is somebody's impatience."""
    until_s = time.monotonic() + REPEAT_S + 0.1
    pool.until(lambda: time.monotonic() > until_s, "some time")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT])
@each_pool
def test_a_hasty_stop(launch: Launch, project: MakeProject, server: str, signum: signal.Signals) -> None:
    """A second TERM ends the delay, a third the grace; QUIT waits neither for the one nor the other; exit 0."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--drain-delay", "30s", "--graceful-timeout", "30s")
    pool.ready(2)
    answer = in_flight(pool, folder, seconds=50)
    began = time.monotonic()
    pool.tell(signum)
    if signum == signal.SIGTERM:
        for said in ("pool_draining", "pool_stopping"):
            pool.seen(said)
            no_repeat(pool)
            pool.tell(signum)

    assert 0 == pool.launched.wait()
    assert time.monotonic() - began < 8
    assert 200 != (answer.result() or (0, ""))[0]


@both_servers
def test_leftovers_are_killed_with_their_stacks(launch: Launch, project: MakeProject, server: str) -> None:
    """A worker that cannot end in time is killed, and what it was at is told; exit 0."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--graceful-timeout", "1s")
    pool.ready(2)
    answer = in_flight(pool, folder, "block")
    began = time.monotonic()

    assert 0 == pool.end()
    assert time.monotonic() - began < 8
    assert "in blocks_the_loop" in pool.launched.stderr
    assert answer.result() is None


@both_servers
def test_term_to_the_group_while_workers_start(launch: Launch, project: MakeProject, server: str) -> None:
    """A pool that was told to stop before anybody was ready ends at once, with 0 and without a word of a failure."""
    folder = project({"main.py": APP, "hang-import": ""})
    pool = start_pool(launch, folder, server, "--drain-delay", "30s", "--graceful-timeout", "30s")
    pool.until(lambda: noted(folder)["hangs"] == 2, "two imports")
    os.killpg(pool.pid, signal.SIGTERM)

    assert 0 == pool.launched.wait(8)
    assert [] == pool.named("worker_boot_failed") + pool.named("worker_died") + pool.named("pool_gave_up")
    assert "Traceback" not in pool.launched.stderr


@both_servers
def test_usr2_is_refused(launch: Launch, project: MakeProject, server: str) -> None:
    """USR2 does nothing; so do USR1 and, to a worker, the TERM that nobody but the arbiter may send."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server)
    before = pool.ready(2)
    children = set(pool.launched.children())
    for signum in (signal.SIGUSR2, signal.SIGUSR1):
        pool.tell(signum)
    for worker in before:
        os.kill(worker, signal.SIGTERM)
    pool.until(lambda: "USR2" in pool.launched.stderr, "the refusal")
    pool.asked()

    assert children == set(pool.launched.children())
    assert before == set(pool.workers())
    assert pool.end() == 0
    assert 2 == noted(folder)["shutdown"]


@each_bare
def test_control_new_connections(spawn: Spawner, project: MakeProject, bare: str) -> None:
    """The bare server refuses or resets whoever comes while a request is in flight."""
    folder = project({"main.py": APP})
    pool = start_bare(spawn, folder, bare)
    pool.until(lambda: noted(folder)["startup"] == 2, "two workers")
    answer = in_flight(pool, folder)
    with asking(pool) as asked:
        asked.more(pool, 5)
        pool.tell(signal.SIGTERM)
        pool.until(lambda: asked.failures, "a failure")
    pool.launched.wait()

    assert asked.failures
    assert answer.done()
