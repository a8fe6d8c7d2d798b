"""Does a reload put in new code without anybody noticing, and is code that is broken refused?"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from support.pool import APP, asking, both_servers, each_pool, noted, start_bare, start_pool

if TYPE_CHECKING:
    from pathlib import Path

    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner


def put(folder: Path, version: int) -> None:
    """Put in new code, of another length: what Python compiled goes by the source's second and size."""
    (folder / "main.py").write_text(APP.replace("VERSION = 1", f"VERSION = {version}") + version * "#" + "\n")


def reload(pool: Pool, count: int = 1) -> None:
    """Reload and wait for the end of it."""
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded", count)


def resize(pool: Pool, signum: signal.Signals, wanted: int) -> None:
    """Ask for one worker more or fewer and wait until that is how many there are."""
    pool.tell(signum)
    pool.seen("pool_resized", wanted=wanted)
    pool.until(lambda: len(pool.workers()) == wanted, f"{wanted} workers")


@each_pool
def test_new_code_and_a_scaled_pool(launch: Launch, project: MakeProject, server: str) -> None:
    """TTIN, then HUP twice: all three workers run the new code, no request fails, no worker too many; TTOU works."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server)
    first = pool.ready(2)
    resize(pool, signal.SIGTTIN, 3)
    pool.ready(3)
    with asking(pool) as asked:
        for version in (2, 3):
            put(folder, version)
            reload(pool, version - 1)
            asked.more(pool, 10)
    last = set(pool.workers())
    versions = [answer["version"] for answer in asked.answers]
    oldest = pool.named("worker_ready")[-3]["pid"]
    resize(pool, signal.SIGTTOU, 2)

    assert [] == asked.failures
    assert {3} == set(versions[-5:])
    assert 3 == len(last)
    assert last.isdisjoint(first)
    assert oldest not in pool.workers()
    assert pool.end() == 0
    assert noted(folder)["startup"] == noted(folder)["shutdown"] == 9


@both_servers
def test_the_last_worker_is_not_taken(launch: Launch, project: MakeProject, server: str) -> None:
    """TTOU of a pool of one leaves one, which can be reloaded."""
    pool = start_pool(launch, project({"main.py": APP}), server)
    pool.ready(2)
    resize(pool, signal.SIGTTOU, 1)
    pool.tell(signal.SIGTTOU)
    reload(pool)

    assert [1] == [event["wanted"] for event in pool.named("pool_resized")]
    assert [pool.asked()["pid"]] == pool.workers()


@each_pool
def test_broken_code_is_refused(launch: Launch, project: MakeProject, server: str) -> None:
    """HUP with a syntax error: the old workers serve on, the error is told; mended, HUP puts it in."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server)
    before = pool.ready(2)
    (folder / "main.py").write_text("def broken(:\n")
    with asking(pool) as asked:
        pool.tell(signal.SIGHUP)
        (failed,) = pool.seen("reload_failed")
        asked.more(pool)
        kept = set(pool.workers())
        put(folder, 2)
        reload(pool)
        asked.more(pool)

    assert [] == asked.failures
    assert kept >= before
    assert "SyntaxError" in json.dumps(failed)
    assert 2 == asked.answers[-1]["version"]
    assert set(pool.workers()).isdisjoint(before)


def test_new_code_with_preload(launch: Launch, project: MakeProject) -> None:
    """What the arbiter has imported before the forks is really new after HUP, too; broken code is refused."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, "gunicorn", "--preload")
    before = pool.ready(2)
    with asking(pool) as asked:
        (folder / "main.py").write_text("def broken(:\n")
        pool.tell(signal.SIGHUP)
        pool.seen("reload_failed")
        assert before <= set(pool.workers())
        put(folder, 2)
        reload(pool)
        asked.more(pool)

    assert [] == asked.failures
    assert 2 == asked.answers[-1]["version"]
    assert 2 == len(set(pool.workers()) & pool.ready(4))  # beside the process that they are forked from
    assert pool.end() == 0


def test_a_broken_configuration_is_refused(launch: Launch, project: MakeProject) -> None:
    """HUP with a gunicorn.conf.py that cannot be read keeps workers and configuration."""
    folder = project({"main.py": APP, "gunicorn.conf.py": "keepalive = 3"})
    pool = start_pool(launch, folder, "gunicorn")
    before = pool.ready(2)
    (folder / "gunicorn.conf.py").write_text("raise RuntimeError('broken-4711')")
    pool.tell(signal.SIGHUP)
    (failed,) = pool.seen("reload_failed")

    assert "configuration" in failed["because"]
    assert "broken-4711" in pool.launched.stderr
    assert before <= set(pool.workers())
    assert pool.asked()["pid"] in before
    assert pool.end() == 0


@each_pool
def test_a_stop_during_a_reload_that_hangs(launch: Launch, project: MakeProject, server: str) -> None:
    """TERM is obeyed at once while the new code hangs in its import."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server)
    before = pool.ready(2)
    (folder / "hang-import").touch()
    pool.tell(signal.SIGHUP)
    pool.until(lambda: noted(folder)["hangs"] == 1, "the import")
    answered = pool.asked()["pid"]

    assert answered in before
    assert pool.end(timeout_s=8) == 0
    assert 2 == noted(folder)["shutdown"]


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_a_reload_that_hangs_is_refused(launch: Launch, project: MakeProject, server: str) -> None:
    """New code that never gets ready is given up after the deadline, with its stack, and the old workers serve on."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--startup-timeout", "3s")
    before = pool.ready(2)
    (folder / "hang-import").touch()
    pool.tell(signal.SIGHUP)
    pool.seen("reload_failed")

    assert "in hangs_in_import" in pool.launched.stderr
    assert before <= set(pool.workers())
    assert pool.asked()["pid"] in before


def test_control_broken_code(spawn: Spawner, project: MakeProject) -> None:
    """The bare gunicorn ends."""
    folder = project({"main.py": APP})
    pool = start_bare(spawn, folder, "gunicorn")
    pool.until(lambda: noted(folder)["startup"] == 2, "two workers")
    (folder / "main.py").write_text("def broken(:\n")
    pool.tell(signal.SIGHUP)

    assert pool.launched.wait() in {1, 3}  # 1 when it meets its own failure again while it ends
