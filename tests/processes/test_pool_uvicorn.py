"""How do workers come out of uvicorn's supervisor?"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import psutil

from support.pool import linux_only, start_pool

if TYPE_CHECKING:
    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = linux_only

# Tells what it found when it was imported: handlers of signals, and what its descriptors are of.
APP = """
import json, logging, os, signal

VERSION = 1
NAMES = ("SIGTTIN", "SIGTTOU", "SIGUSR2", "SIGWINCH", "SIGCHLD")
found = {
    "pid": os.getpid(),
    "version": VERSION,
    "taken": [name for name in NAMES if signal.getsignal(getattr(signal, name)) is not signal.SIG_DFL],
    "open": sorted(os.readlink(path) for path in map("/proc/self/fd/{}".format, range(64)) if os.path.islink(path)),
}


class Form(logging.Formatter):
    pass


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = json.dumps(found).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""
LOG_CONFIG = {"version": 1, "disable_existing_loggers": False, "formatters": {"own": {"()": "main.Form"}}}


def commands(pool: Pool) -> dict[int, str]:
    """Return the command line of each child of the supervisor."""
    return {child.pid: " ".join(child.cmdline()) for child in psutil.Process(pool.pid).children()}


def test_a_worker_is_a_fork_that_has_nothing_of_the_supervisors(launch: Launch, project: MakeProject) -> None:
    """A later worker has one piece of evidence and no other file, pipe or handler; no helper runs beside workers."""
    pool = start_pool(launch, project({"main.py": APP}), "uvicorn")
    old = pool.ready(2)
    for pid in old:
        pool.kill(pid)
    new = pool.ready(4) - old
    found = pool.asked()
    kinds = [target.partition(" ")[0] for target in found["open"]]

    assert found["pid"] in new
    assert [] == found["taken"]
    assert 1 == sum(kind.startswith("/memfd:launcher-evidence") for kind in kinds)
    assert not [kind for kind in kinds if kind.startswith("pipe:")]
    assert 1 == sum(kind.startswith("socket:") for kind in kinds)
    assert {pid: " ".join(psutil.Process(pool.pid).cmdline()) for pid in new} == {
        pid: command for pid, command in commands(pool).items() if "launcher.monitor" not in command
    }
    assert 0 == pool.end()


def test_what_a_logging_configuration_imports_is_new_after_a_reload(launch: Launch, project: MakeProject) -> None:
    """A file for uvicorn's --log-config names a class of the application's: workers are spawned, and import it anew."""
    folder = project({"main.py": APP, "log.json": json.dumps(LOG_CONFIG)})
    pool = start_pool(launch, folder, "uvicorn", "--", "--log-config", str(folder / "log.json"))
    workers = pool.ready(2)
    first = pool.asked()["version"]
    (folder / "main.py").write_text(APP.replace("VERSION = 1", "VERSION = 22"))
    spawned = [pid for pid, command in commands(pool).items() if "spawn_main" in command]
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded", replaced=2)

    assert workers == set(spawned)
    assert [1, 22] == [first, pool.asked()["version"]]
    assert 0 == pool.end()
