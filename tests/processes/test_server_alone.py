"""Does uvicorn's server, with no pool above it, have the pool's manners at a stop?"""

from __future__ import annotations

import http.client
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from launcher.serving.workers.haste import REPEAT_S
from support.waiting import free_port, until
from support.worker_app import APP

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Spawner

ALONE = """
import socket, sys
from uvicorn.config import Config
from launcher.serving.rules import Rules
from launcher.serving.workers.server import PoolServer
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
config = Config("main:app", log_level="warning")
PoolServer(config, None, Rules(drain_delay_s=float(sys.argv[2]), graceful_timeout_s=20)).run([listener])
"""
SLOW_LIFESPAN = """
import asyncio

async def app(scope, receive, send):
    print("starting", flush=True)
    await asyncio.sleep(600)
"""


def alone(spawn: Spawner, folder: Path, port: int, delay_s: float) -> Launched:
    """Start uvicorn's server with no pool."""
    return spawn([sys.executable, "-c", ALONE, str(port), str(delay_s)], cwd=folder)


def ask_slowly(launched: Launched, port: int, wait_s: float) -> http.client.HTTPConnection:
    """Return the connection of a request that has begun, and is answered after `wait_s`."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", f"/slow?{wait_s}")
    until(lambda: "began /slow" in launched.stdout, "the request")
    return client


def test_a_server_of_its_own_drains(spawn: Spawner, project: MakeProject) -> None:
    """After TERM it accepts for the drain delay, then it stops with exit code 0."""
    port = free_port()
    launched = alone(spawn, project({"main.py": APP}), port, 1.5)
    launched.wait_http(port)
    started = time.monotonic()
    launched.signal(signal.SIGTERM)
    accepted = launched.wait_http(port)

    assert accepted[0] == 200
    assert launched.wait() == 0
    assert time.monotonic() - started > 1.4


def test_a_server_of_its_own_can_be_hastened(spawn: Spawner, project: MakeProject) -> None:
    """The second signal ends the drain delay, the third the waiting for requests."""
    port = free_port()
    launched = alone(spawn, project({"main.py": APP}), port, 600)
    launched.wait_http(port)
    client = ask_slowly(launched, port, 600)
    launched.signal(signal.SIGTERM)
    launched.signal(signal.SIGINT)  # another one: two of a kind may arrive as one
    until(lambda: refused(port), "the listener's end")
    no_repeat_s = time.monotonic() + REPEAT_S
    until(lambda: time.monotonic() > no_repeat_s, "some time")
    launched.signal(signal.SIGTERM)

    assert launched.wait(5) == 0
    client.close()


def test_the_same_signal_once_more_is_no_hurry(spawn: Spawner, project: MakeProject) -> None:
    """TERM again within a moment, as wrappers send it: the request in flight is answered."""
    port = free_port()
    launched = alone(spawn, project({"main.py": APP}), port, 0)
    launched.wait_http(port)
    client = ask_slowly(launched, port, 1.5)
    launched.signal(signal.SIGTERM)
    until(lambda: refused(port), "the listener's end")
    launched.signal(signal.SIGTERM)

    assert client.getresponse().status == 200
    assert launched.wait(5) == 0
    client.close()


def refused(port: int) -> bool:
    """Tell whether nobody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


def test_a_lifespan_that_starts_is_left_at_once(spawn: Spawner, project: MakeProject) -> None:
    """TERM before the application has started is exit code 0: nobody is connected yet."""
    launched = alone(spawn, project({"main.py": SLOW_LIFESPAN}), free_port(), 600)
    until(lambda: "starting" in launched.stdout, "the start")
    launched.signal(signal.SIGTERM)

    assert launched.wait(5) == 0


def test_quit_waits_for_nothing(spawn: Spawner, project: MakeProject) -> None:
    """Neither for the drain delay nor for a request."""
    port = free_port()
    launched = alone(spawn, project({"main.py": APP}), port, 600)
    launched.wait_http(port)
    client = ask_slowly(launched, port, 600)
    launched.signal(signal.SIGQUIT)

    assert launched.wait(5) == 0
    client.close()
