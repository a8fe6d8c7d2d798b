"""What becomes of workers that hang in a request?"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

from support.launched import http_get
from support.pool import APP, asking, each_bare, each_pool, noted, start_bare, start_pool

if TYPE_CHECKING:
    from pathlib import Path

    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

FUNCTIONS = {"block": "blocks_the_loop", "gil": "holds_the_gil", "deadlock": "waits_for_a_lock"}
LIMIT_S = 2


def hang(pool: Pool, folder: Path, word: str) -> None:
    """Let a worker that still answers hang; return when it does."""
    thread = threading.Thread(target=http_get, args=(pool.port, f"/{word}"), kwargs={"timeout_s": 30}, daemon=True)
    thread.start()
    pool.until(lambda: noted(folder)[word] == 1, word)


@each_pool
def test_hung_workers_are_replaced_with_their_stacks(launch: Launch, project: MakeProject, server: str) -> None:
    """Blocked in Python, with the GIL held in C, in a deadlock: each is told by its function; the fourth serves on."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--worker-timeout", f"{LIMIT_S}s", "--restart-intensity", "9", workers=4)
    before = pool.ready(4)
    for word in FUNCTIONS:
        hang(pool, folder, word)
    with asking(pool) as asked:
        died = pool.seen("worker_died", 3)
        pool.ready(7)
        asked.more(pool)
    hung = {event["pid"] for event in pool.named("worker_hung")}
    blocked = next(event["stack"] for event in died if "in blocks_the_loop" in event["stack"])
    stacks = [next((name for name in FUNCTIONS.values() if f"in {name}" in str(event)), "none") for event in died]

    assert sorted(FUNCTIONS.values()) == sorted(stacks), pool.launched
    assert "in lifespan" in blocked  # a task, not on any thread's stack: told where the interpreter still runs
    assert hung == {event["pid"] for event in died}
    assert 3 == len(hung)
    assert [] == asked.failures, pool.launched
    assert before - hung <= set(pool.workers())
    assert 4 == len(pool.workers())
    assert pool.end() == 0


@each_bare
def test_control_a_blocked_loop(spawn: Spawner, project: MakeProject, bare: str) -> None:
    """The bare gunicorn kills without a stack; the bare uvicorn does nothing."""
    folder = project({"main.py": APP})
    pool = start_bare(spawn, folder, bare, *(["-t", str(LIMIT_S)] if bare == "gunicorn" else []))
    pool.until(lambda: noted(folder)["startup"] == 2, "two workers")
    hang(pool, folder, "block")
    if bare == "gunicorn":
        pool.until(lambda: noted(folder)["startup"] == 3, "the replacement")
    else:
        deadline = time.monotonic() + 2 * LIMIT_S
        pool.until(lambda: time.monotonic() > deadline, "twice the time")
        assert 2 == noted(folder)["startup"]
    pool.tell(signal.SIGKILL)  # it would wait for its worker

    assert FUNCTIONS["block"] not in pool.launched.stderr
