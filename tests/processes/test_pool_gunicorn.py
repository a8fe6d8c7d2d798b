"""What of gunicorn's own ways (hooks, worker classes, configuration) could end a pool, or leave a second one?"""

from __future__ import annotations

import http.client
import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from support.launched import http_get
from support.namespaces import needs_namespaces
from support.pool import APP, PATIENCE_S, Pool, asking, linux_only, noted, start_pool
from support.waiting import free_port, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

CONFIGURES = """
from {module} import UvicornWorker

class W(UvicornWorker):
    CONFIG_KWARGS = {{"loop": "asyncio", "http": "h11", "headers": [("x-own", "yes")]}}
"""
SUCCESSOR = CONFIGURES.format(module="uvicorn_worker")
# What a change of user does, and what uvicorn's class of its own would not know.
FORGETS = """
    def init_signals(self):
        super().init_signals()
        import ctypes
        ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG
"""
FOREIGN = """
    async def _serve(self):
        await super()._serve()
"""
OWN = {"configures": SUCCESSOR, "foreign": SUCCESSOR + FOREIGN}
each_own = pytest.mark.parametrize("own", OWN)
GONE_S = 3.0


def start(launch: Launch, folder: Path, *words: str) -> Pool:
    """Start a pool whose number of workers only gunicorn's file says."""
    port = free_port()
    return Pool(launch("run", "main:app", "--port", str(port), "--host", "127.0.0.1", *words, cwd=folder), port)


def header(pool: Pool, name: str) -> str | None:
    """Return a header of an answer; None without it."""
    connection = http.client.HTTPConnection("127.0.0.1", pool.port, timeout=PATIENCE_S)
    connection.request("GET", "/")
    value = connection.getresponse().headers[name]
    connection.close()
    return value


@pytest.mark.parametrize("module", ["uvicorn_worker", "uvicorn.workers"])
def test_a_class_that_configures_uvicorn(launch: Launch, project: MakeProject, module: str) -> None:
    """It is one of the pool's: after --max-requests a worker is replaced first, and its CONFIG_KWARGS hold."""
    folder = project({"main.py": APP, "own.py": CONFIGURES.format(module=module)})
    pool = start_pool(launch, folder, "gunicorn", "--worker-class", "own.W", "--max-requests", "10")
    pool.ready(2)
    told = header(pool, "x-own")
    with asking(pool) as asked:
        pool.seen("worker_recycled", 4)

    assert "yes" == told
    assert [] == asked.failures
    assert [] == pool.named("worker_died")
    assert pool.end() == 0


def test_a_foreign_class_after_max_requests(launch: Launch, project: MakeProject) -> None:
    """Ending by itself with 0 is what a class that knows no pool does then: no death, however often."""
    folder = project({"main.py": APP, "own.py": OWN["foreign"]})
    pool = start_pool(launch, folder, "gunicorn", "--worker-class", "own.W", "--max-requests", "5")
    pool.ready(2)
    with asking(pool):
        stopped = pool.seen("worker_stopped", 5)

    assert {0} == {event["code"] for event in stopped}
    assert [] == pool.named("worker_died")
    assert pool.end() == 0


@each_own
def test_a_broken_lifespan_under_an_own_class(launch: Launch, project: MakeProject, own: str) -> None:
    """A worker is ready after its lifespan, not before: at the start 3 with the error once."""
    folder = project({"main.py": APP, "own.py": OWN[own], "away": ""})
    pool = start_pool(launch, folder, "gunicorn", "--worker-class", "own.W")

    assert pool.launched.wait() == 3, pool.launched
    assert 1 == pool.launched.stderr.count("the dependency is away"), pool.launched
    assert [] == pool.named("worker_ready")


@each_own
def test_a_broken_lifespan_while_somebody_serves(launch: Launch, project: MakeProject, own: str) -> None:
    """Failing re-boots are no deaths of ready workers: they are tried again until they succeed."""
    folder = project({"main.py": APP, "own.py": OWN[own]})
    words = ("--worker-class", "own.W", "--restart-intensity", "2")
    pool = start_pool(launch, folder, "gunicorn", *words)
    first = pool.ready(2)
    (folder / "away").touch()
    pool.kill(first.pop())
    pool.seen("worker_boot_failed", 2)
    (folder / "away").unlink()
    pool.ready(3)

    assert 1 == len(pool.named("worker_died"))
    assert pool.end() == 0


@linux_only
@each_own
def test_workers_of_an_own_class_end_with_their_arbiter(launch: Launch, project: MakeProject, own: str) -> None:
    """The kernel forgets the tie when a worker changes its user: it is made anew, and holds for one that hangs."""
    folder = project({"main.py": APP, "own.py": OWN[own] + FORGETS})
    pool = start_pool(launch, folder, "gunicorn", "--worker-class", "own.W")
    workers = pool.ready(2)
    http_get(pool.port, "/block", timeout_s=0.3)
    pool.until(lambda: noted(folder)["block"] == 1, "/block")
    pool.kill(pool.pid)
    pool.launched.wait()

    until(lambda: not any(map(psutil.pid_exists, workers)), "the workers' end", GONE_S)


BROKEN_STDERR = """
import os
from pathlib import Path

def post_fork(server, worker):
    if Path("flag").exists():
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 2)
        raise RuntimeError("refused-4711")
"""


def test_a_worker_that_cannot_say_what_it_dies_of(launch: Launch, project: MakeProject) -> None:
    """With a stderr that nobody reads a failing boot ends the worker with 3, and makes no second arbiter of it."""
    folder = project({"main.py": APP, "gunicorn.conf.py": BROKEN_STDERR})
    pool = start_pool(launch, folder, "gunicorn")
    first = pool.ready(2)
    (folder / "flag").touch()
    pool.kill(first.pop())
    failed = pool.seen("worker_boot_failed", 2)
    (folder / "flag").unlink()
    pool.ready(3)

    assert {3} == {event.get("code") for event in failed}
    assert "refused-4711" in pool.launched.stderr
    assert [] == pool.named("worker_hung")
    assert pool.end() == 0


def test_an_edited_configuration_is_read_again(launch: Launch, project: MakeProject) -> None:
    """HUP: a number of workers and a class that stand in gunicorn.conf.py are what stands there now."""
    files = {"main.py": APP, "own.py": SUCCESSOR}
    folder = project(files | {"gunicorn.conf.py": "workers = 2\nworker_class = 'uvicorn_worker.UvicornWorker'\n"})
    pool = start(launch, folder)
    pool.ready(2)
    before = header(pool, "x-own")
    (folder / "gunicorn.conf.py").write_text("workers = 3\nworker_class = 'own.W'\n")
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded")
    pool.until(lambda: len(pool.workers()) == 3, "three workers")
    after = header(pool, "x-own")
    (folder / "gunicorn.conf.py").write_text("worker_class = 'sync'\n")
    pool.tell(signal.SIGHUP)
    (refused,) = pool.seen("reload_failed")

    assert (None, "yes") == (before, after)
    assert "WSGI" in refused["because"]
    assert pool.asked()
    assert pool.end() == 0


def test_a_configuration_that_fails_leaves_the_number_as_it_was(launch: Launch, project: MakeProject) -> None:
    """HUP: it would have four workers and raises; there are to be two as a signal had said, not the file's three."""
    folder = project({"main.py": APP, "gunicorn.conf.py": "workers = 3\n"})
    pool = start(launch, folder)
    pool.ready(3)
    pool.tell(signal.SIGTTOU)
    pool.until(lambda: len(pool.workers()) == 2, "two workers")
    (folder / "gunicorn.conf.py").write_text("workers = 4\ndef on_reload(server): raise RuntimeError('hook-4711')\n")
    pool.tell(signal.SIGHUP)
    pool.seen("reload_failed")

    assert [2, 4, 2] == [event["wanted"] for event in pool.seen("pool_resized", 3)]
    assert 2 == len(pool.workers())
    assert pool.end() == 0


HOOKS = {
    "nworkers_changed": "def nworkers_changed(server, new, old):\n    if old is not None: {end}\n",
    "on_reload": "def on_reload(server): {end}\n",
    "child_exit": "def child_exit(server, worker): {end}\n",
    "pre_fork": "import os\n\ndef pre_fork(server, worker):\n    if os.path.exists('flag'): {end}\n",
}


@pytest.mark.parametrize("end", ["raise RuntimeError('hook-4711')", "raise SystemExit('hook-4711')"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_of_the_arbiter_that_raises(launch: Launch, project: MakeProject, hook: str, end: str) -> None:
    """Whatever it raises in a reload or at a death is said, and the pool serves on."""
    folder = project({"main.py": APP, "gunicorn.conf.py": HOOKS[hook].format(end=end)})
    pool = start_pool(launch, folder, "gunicorn")
    workers = pool.ready(2)
    (folder / "flag").touch()
    pool.tell(signal.SIGHUP)
    pool.until(lambda: "hook-4711" in pool.launched.stderr, "what the hook raises")
    (folder / "flag").unlink()
    pool.until(lambda: pool.named("reload_failed") or pool.named("pool_reloaded"), "the end of the reload")
    pool.kill((set(pool.workers()) & pool.ready(2)).pop())
    pool.until(lambda: len(pool.ready(2) - workers) and len(pool.workers()) == 2, "another worker")

    assert pool.asked()
    assert [] == pool.named("pool_fault")
    assert pool.end() == 0


# Started with this before it, a command may not send signals to others' processes.
WITHOUT_CAP_KILL = """
import ctypes, os, sys
assert not ctypes.CDLL(None).prctl(24, 5, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_KILL
os.execv(sys.argv[1], sys.argv[1:])
"""
CHANGES_ITS_USER = APP.replace('    note("startup")\n', '    note("startup")\n    os.setuid(65534)\n')


@needs_namespaces
def test_workers_that_may_not_be_signalled(spawn: Spawner, project: MakeProject) -> None:
    """Without CAP_KILL, workers of another user leave for the scoreboard's word, and the arbiter is none the worse."""
    folder, port = project({"main.py": CHANGES_ITS_USER}), free_port()
    told = ("run", "main:app", "--port", str(port), "--host", "127.0.0.1", "--workers", "2")
    pool = Pool(
        spawn([sys.executable, "-c", WITHOUT_CAP_KILL, sys.executable, "-m", "launcher", *told], cwd=folder), port
    )
    pool.ready(2)
    pool.tell(signal.SIGTTOU)
    pool.seen("worker_stopped")

    assert "CAP_KILL" in pool.launched.stderr
    assert [] == pool.named("pool_fault") + pool.named("worker_died")
    assert pool.end() == 0


# seccomp(2): one system call is refused with ENOSYS, as old lists of allowed ones have it.
WITHOUT_MEMFD = """
import ctypes, errno, os, platform, struct, sys
number = {"x86_64": 319, "aarch64": 279}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert not libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
assert not libc.prctl(22, 2, program, 0, 0), ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
try:
    os.memfd_create("")
except OSError as error:
    assert error.errno == errno.ENOSYS
else:
    raise AssertionError("it is allowed")
os.execv(sys.argv[1], sys.argv[1:])
"""


@linux_only
def test_memory_without_a_file_is_refused(spawn: Spawner, project: MakeProject) -> None:
    """Where the container's rules forbid memfd_create, files that are removed at once do as well."""
    folder, port = project({"main.py": APP}), free_port()
    told = ("run", "main:app", "--port", str(port), "--host", "127.0.0.1", "--workers", "2")
    pool = Pool(spawn([sys.executable, "-c", WITHOUT_MEMFD, sys.executable, "-m", "launcher", *told], cwd=folder), port)
    pool.kill(pool.ready(2).pop())
    pool.ready(3)

    assert pool.asked()
    assert pool.end() == 0
