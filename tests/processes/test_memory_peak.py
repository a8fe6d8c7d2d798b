"""Does the pool stay below a real limit while its workers are replaced, in a real memory group?"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from support.monitored import start_steered
from support.pool import BARE, PATIENCE_S, Pool, both_servers, linux_only, start_bare, start_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.memory_group import MemoryGroup
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

pytestmark = linux_only

MIB = 1 << 20
HELD_MB, WORKERS, SLOW = 100, 3, 24
# Measured: three workers with arbiter and monitor are 354 MiB (gunicorn), each worker 107 of it (uvicorn: 108), with
# what it may grow by 134; six of bare gunicorn's are 670.
LIMIT = 470 * MIB
# Two fit with 30 MiB to spare.
USABLE = "350MiB"
_LOOK_S = 0.02
APP = f"""
import asyncio, json, os, pathlib

held = b"x" * ({HELD_MB} * 10**6)
FOLDER = pathlib.Path(__file__).parent
(FOLDER / "imports").open("a").write("x")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        (FOLDER / "slow").open("a").write("x")
        while not (FOLDER / "done").exists():
            await asyncio.sleep(0.05)
    body = json.dumps({{"pid": os.getpid()}}).encode()
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body}})
"""


class Slow:
    """Requests that are answered when the file `done` is there."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        """Send them, and return when all are under way."""
        self.answers: list[int | str] = []
        self._pool, self._folder = pool, folder
        self._threads = [threading.Thread(target=self._ask) for _ in range(SLOW)]
        for thread in self._threads:
            thread.start()
        pool.until(lambda: self._begun() == SLOW, "all slow requests")

    def _begun(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return len((self._folder / "slow").read_text())
        return 0

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._pool.port, timeout=3 * PATIENCE_S)
        try:
            connection.request("GET", "/slow")
            self.answers.append(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            self.answers.append(repr(error))
        finally:
            connection.close()

    def end(self) -> list[int | str]:
        """Have them answered; return what came."""
        (self._folder / "done").touch()
        for thread in self._threads:
            thread.join()
        return self.answers


@contextlib.contextmanager
def peak(group: MemoryGroup) -> Iterator[list[int]]:
    """Keep the most that the group needs while the block runs."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            most[0] = max(most[0], group.needed_bytes)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


@both_servers
def test_a_reload_with_slow_requests(group: MemoryGroup, launch: Launch, project: MakeProject, server: str) -> None:
    """Three workers with 24 requests in flight are replaced where a fourth has no room: none is killed or cut off."""
    group.limit(LIMIT)
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, workers=WORKERS, before=group.inside)
    pool.ready(WORKERS)
    with peak(group) as most:
        slow = Slow(pool, folder)
        pool.tell(signal.SIGHUP)
        pool.seen("worker_drained_first")
        answers = slow.end()
        pool.seen("pool_reloaded")

    assert [200] * SLOW == answers
    assert 0 == group.oom_kills
    assert most[0] < LIMIT * 0.95
    assert WORKERS == len(pool.named("worker_drained_first"))
    assert pool.end() == 0


def test_a_preloaded_application_that_does_not_fit_twice(
    group: MemoryGroup, launch: Launch, project: MakeProject
) -> None:
    """A reload would hold both: it fails at once with the reason, and all goes on as before; with room it does not."""
    group.limit(260 * MIB)
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, "gunicorn", "--preload", before=group.inside)
    first = pool.ready(2)
    pool.tell(signal.SIGHUP)
    (failed,) = pool.seen("reload_failed")
    pool.kill(min(first))
    kept = pool.ready(3)
    imports = (folder / "imports").read_text()
    group.limit(LIMIT)
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded")

    assert failed["because"].startswith("there is no room for it: a second copy of the application would take 1")
    assert failed["because"].endswith("; start the launcher anew instead")
    assert (3, "x") == (len(kept), imports), "the template was there to fork who came for the one that was killed"
    assert [] == pool.named("worker_drained_first")
    assert 0 == group.oom_kills


def test_a_reload_of_bare_gunicorn(group: MemoryGroup, spawn: Spawner, project: MakeProject) -> None:
    """The control: gunicorn's own HUP has old and new workers side by side, and the kernel kills."""
    group.limit(LIMIT)
    folder = project({"main.py": APP})
    pool = start_bare(spawn, folder, BARE[0], workers=WORKERS, before=group.inside)
    started = "Application startup complete."
    pool.until(lambda: pool.launched.stderr.count(started) == WORKERS, "the workers")
    slow = Slow(pool, folder)
    pool.tell(signal.SIGHUP)
    pool.until(lambda: group.oom_kills, "a kill for memory")
    slow.end()

    assert group.oom_kills


@both_servers
def test_a_small_container(group: MemoryGroup, launch: Launch, project: MakeProject, server: str) -> None:
    """In 256 MiB, the guess for one worker alone, a small application is started, measured, and found to fit twice."""
    group.limit(256 * MIB)
    folder = project({"main.py": APP.replace(f"({HELD_MB} * 10**6)", "1")})
    pool = start_pool(launch, folder, server, "--max-workers", "2", workers=None, before=group.inside)
    (sized, *_) = pool.seen("pool_sized")
    pool.ready(2)

    assert 2 == sized["wanted"]
    assert pool.named("budget_doubtful")[0]["because"].startswith("1 worker × 256 MiB (default, a guess until")  # noqa: RUF001 - the sign of the sum
    assert 0 == group.oom_kills


@both_servers
def test_scaling_beyond_the_limit(group: MemoryGroup, launch: Launch, project: MakeProject, server: str) -> None:
    """`launcher scale` says what does not fit, and TTIN is said in the log; the pool stays as it is."""
    group.limit(440 * MIB)
    folder = project({"main.py": APP})
    steered = start_steered(launch, folder, server, workers=2, before=group.inside)
    steered.pool.ready(2)
    outcome = steered.command("scale", "5")
    steered.pool.tell(signal.SIGTTIN)
    refused = steered.pool.seen("scale_refused", 2)

    assert (12, True) == (outcome.code, outcome.stderr.startswith("3 more workers would take "))
    assert [(5, 2), (3, 2)] == [(event["wanted"], event["kept"]) for event in refused]
    assert 2 == len(steered.pool.workers())
    assert 0 == group.oom_kills


@both_servers
def test_shared_memory_that_comes_later(group: MemoryGroup, launch: Launch, project: MakeProject, server: str) -> None:
    """Two fit; with 60 MB more in /dev/shm one does, and two again when the file has gone."""
    group.limit(2 * LIMIT)
    words = ("--max-workers", "2", "--memory", USABLE)
    pool = start_pool(launch, project({"main.py": APP}), server, *words, workers=None, before=group.inside)
    pool.ready(2)
    pool.seen("worker_measured", workers=2)
    file = Path(f"/dev/shm/launcher-peak-{os.getpid()}")  # noqa: S108 - the place is the subject
    write = ["dd", "if=/dev/zero", f"of={file}", "bs=1M", "count=60", "status=none"]
    try:
        subprocess.run([*group.inside, *write], check=True)
        (smaller,) = pool.seen("pool_sized", wanted=1)
    finally:
        file.unlink(missing_ok=True)
    (_, larger) = pool.seen("pool_sized", 2, wanted=2)

    assert smaller["because"].endswith(
        " lie in shared memory (/dev/shm, tmpfs): 1 fits in memory, where 2 would be allowed"
    )
    assert " MiB shmem " in smaller["sum"]
    assert 2 == larger["fits"]
    assert pool.end() == 0
