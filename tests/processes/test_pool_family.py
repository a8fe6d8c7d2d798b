"""Do arbiter and workers belong together, whoever is killed and whoever is process 1?"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.launched import http_get
from support.namespaces import needs_namespaces
from support.pool import APP, BARE, Pool, both_servers, each_pool, linux_only, noted, start_bare, start_pool
from support.projects import write_project
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

GONE_S = 3.0
# Whoever may read the interpreter's folder only as root reads it as anybody in here.
OPENED = """
set -e
for closed in "$@"; do
    [ "$closed" != -- ] || break
    shift
    mkdir -p "$PLACE/kept"; mount --bind "$PYTHON" "$PLACE/kept"
    mount -t tmpfs -o mode=755 none "$closed"; mkdir -p "$PYTHON"; mount --bind "$PLACE/kept" "$PYTHON"
done
shift
exec "$@"
"""


def listening(pool: Pool) -> bool:
    """Tell whether anybody listens on the pool's port."""
    needle = f":{pool.port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(needle in line and line.split()[3] == "0A" for line in lines)


def block(pool: Pool, folder: Path) -> None:
    """Let one worker hang: it looks at nothing any more."""
    http_get(pool.port, "/block", timeout_s=0.3)
    pool.until(lambda: noted(folder)["block"] == 1, "/block")


@linux_only
@each_pool
def test_workers_end_with_their_arbiter(launch: Launch, project: MakeProject, server: str) -> None:
    """Three seconds after kill -9 of the arbiter nobody listens and no worker is there, even one that hangs."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server)
    workers = pool.ready(2)
    block(pool, folder)
    pool.kill(pool.pid)
    pool.launched.wait()
    until(lambda: not listening(pool), "nobody to listen", GONE_S)

    until(lambda: not any(map(psutil.pid_exists, workers)), "the workers' end", GONE_S)


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """Make a folder that anybody may read and write."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@needs_namespaces
@pytest.mark.parametrize("worker_class", ["uvicorn", "asgi"])
def test_workers_of_another_user_end_with_their_arbiter(spawn: Spawner, anybodys: Path, worker_class: str) -> None:
    """With gunicorn's `--user` as well: the kernel forgets the tie when a process changes its user."""
    folder = write_project(anybodys / "project", {"main.py": APP})
    folder.chmod(0o777)
    port = free_port()
    words = ["run", "main:app", "--workers", "2", "-k", worker_class, "--port", str(port), "--host", "127.0.0.1"]
    command = [sys.executable, "-m", "launcher", *words, "--", "--user", "nobody", "--group", "nogroup"]
    prefix = Path(sys.base_prefix)
    closed = [str(place) for place in prefix.parents if not place.stat().st_mode & 0o001]
    told = {"PLACE": str(anybodys), "PYTHON": str(prefix)}
    pool = Pool(spawn(["unshare", "-m", "sh", "-c", OPENED, "sh", *closed, "--", *command], cwd=folder, env=told), port)
    workers = pool.ready(2)
    users = {psutil.Process(worker).username() for worker in workers}
    block(pool, folder)
    pool.kill(pool.pid)
    until(lambda: not listening(pool), "nobody to listen", GONE_S)

    assert {"nobody"} == users
    until(lambda: not any(map(psutil.pid_exists, workers)), "the workers' end", GONE_S)


@linux_only
@each_pool
def test_the_kernel_takes_a_worker_first(launch: Launch, project: MakeProject, server: str) -> None:
    """When memory runs out, the kernel's choice is a worker and not the arbiter."""
    pool = start_pool(launch, project({"main.py": APP}), server)
    workers = pool.ready(2)
    arbiter, *others = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (pool.pid, *workers))

    assert all(score > arbiter for score in others)


def as_process_one(spawn: Spawner, folder: Path, port: int, *command: str) -> Pool:
    """Start a server as process 1 of a container; what `launched` exits with is its exit code."""
    launched = spawn(["unshare", "-pf", "--mount-proc", "--kill-child", *command], cwd=folder)
    launched.wait_http(port)
    return Pool(launched, port, arbiter=launched.children()[0])


@needs_namespaces
@both_servers
def test_process_one(spawn: Spawner, project: MakeProject, server: str) -> None:
    """As process 1: orphans are reaped, nobody is taken for one, and TERM ends the pool with 0."""
    folder = project({"main.py": APP})
    port = free_port()
    words = ["run", "main:app", "--server", server, "--workers", "2", "--port", str(port)]
    pool = as_process_one(spawn, folder, port, sys.executable, "-m", "launcher", *words)
    pool.ready(2)
    for _ in range(3):
        assert pool.ask("/orphan")
    pool.until(lambda: not pool.zombies() and len(pool.workers()) == 2, "the orphans to be reaped")

    assert 1 == pool.asked()["ppid"]
    assert [] == pool.named("worker_died")
    assert pool.end() == 0


@needs_namespaces
def test_control_process_one(spawn: Spawner, project: MakeProject) -> None:
    """The bare uvicorn leaves the orphans it has as process 1 as zombies."""
    folder = project({"main.py": APP})
    port = free_port()
    words = ["main:app", "--workers", "2", "--port", str(port), "--app-dir", str(folder)]
    pool = as_process_one(spawn, folder, port, sys.executable, "-m", "uvicorn", *words)
    assert pool.ask("/orphan")
    pool.until(pool.zombies, "a zombie")
    with pytest.raises(AssertionError):
        until(lambda: not pool.zombies(), "the orphan to be reaped", 1.5)
    pool.kill(pool.pid)


def started(pool: Pool, folder: Path) -> None:
    """Wait until two workers of a bare server serve."""
    pool.until(lambda: noted(folder)["startup"] == 2, "two workers")


def test_control_the_arbiter_s_death(spawn: Spawner, project: MakeProject) -> None:
    """The workers of the bare servers serve on without anybody who would care for them."""
    folders = [project({"main.py": APP}, bare) for bare in BARE]
    pools = [start_bare(spawn, folder, bare) for folder, bare in zip(folders, BARE, strict=True)]
    for pool, folder in zip(pools, folders, strict=True):
        started(pool, folder)
        block(pool, folder)
        pool.kill(pool.pid)
        pool.launched.wait()
    with pytest.raises(AssertionError):
        until(lambda: not all(map(listening, pools)), "nobody to listen", GONE_S)
