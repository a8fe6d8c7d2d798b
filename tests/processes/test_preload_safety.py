"""Is an application refused, by name, that cannot be imported once for all workers?"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from support.pool import APP, linux_only, start_pool

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch

THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True, name='poller-4711').start()\n"
CONNECTION = """
import socket
from pathlib import Path
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
Path("peer").write_text("%s:%d" % client.getpeername())
"""
LOOP = "import asyncio\nloop = asyncio.new_event_loop()\n"
# What was there and is over, or has never been used, does no harm.
HARMLESS = """
import asyncio, socket, threading
thread = threading.Thread(target=print)
thread.start()
thread.join()
asyncio.run(asyncio.sleep(0))
unused = socket.socket()
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname()).close()
listener.close()
"""
# Multiplying starts OpenBLAS's threads, which no Python code knows of; how many there are is written down.
NUMPY = """
import os
import numpy as np
ONES = np.ones((400, 400))
ONES @ ONES
(FOLDER / "threads").write_text(str(len(os.listdir("/proc/self/task"))))
plain = app


async def app(scope, receive, send):
    if scope["type"] == "http":
        assert (ONES @ ONES).sum() == 400**3
    await plain(scope, receive, send)
"""
UNSAFE = {
    "thread": (THREAD, "the thread 'poller-4711'"),
    "connection": (CONNECTION, "a connection to 127.0.0.1:"),
    "loop": (LOOP, "an event loop"),
}

pytestmark = linux_only


@pytest.mark.parametrize("name", UNSAFE)
def test_what_a_fork_breaks_is_refused(launch: Launch, project: MakeProject, name: str) -> None:
    """With --preload the start ends with code 3 and one sentence that names it and the cure; without, it serves."""
    code, words = UNSAFE[name]
    folder = project({"main.py": f"{APP}\n{code}"})
    refused = start_pool(launch, folder, "gunicorn", "--preload")
    status = refused.launched.wait()
    (said,) = {event["exception"] for event in refused.named("worker_not_started")}
    served = start_pool(launch, folder, "gunicorn")
    served.ready(2)

    assert 3 == status
    assert words in said
    assert "lifespan" in said
    assert "Traceback" not in said
    assert served.end() == 0


def test_what_is_over_is_no_reason(launch: Launch, project: MakeProject) -> None:
    """Threads that have ended, loops and connections that were closed, sockets that nobody used: it is preloaded."""
    pool = start_pool(launch, project({"main.py": f"{APP}\n{HARMLESS}"}), "gunicorn", "--preload")

    assert pool.ready(2)
    assert pool.end() == 0


@pytest.mark.skipif(os.cpu_count() == 1, reason="OpenBLAS starts no threads on one CPU")
def test_threads_of_a_c_library(launch: Launch, project: MakeProject) -> None:
    """An application is preloaded whose import has started numpy's threads, and workers calculate with theirs."""
    folder = project({"main.py": f"{APP}\n{NUMPY}"})
    pool = start_pool(launch, folder, "gunicorn", "--preload")
    workers = pool.ready(2)
    answers = [pool.asked()["pid"] for _ in range(10)]

    assert int((folder / "threads").read_text()) > 1, "the control: there are threads when it is forked"
    assert workers.issuperset(answers)
    assert pool.end() == 0


def test_a_reload_with_unsafe_code(launch: Launch, project: MakeProject) -> None:
    """The old workers go on serving, and it is said why."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, "gunicorn", "--preload")
    old = pool.ready(2)
    (folder / "main.py").write_text(f"{APP}\n{THREAD}")
    pool.tell(signal.SIGHUP)
    (failed,) = pool.seen("reload_failed")

    assert "poller-4711" in str(failed)
    assert old == set(pool.workers()) & old
    assert pool.asked()["pid"] in old
    assert pool.end() == 0
