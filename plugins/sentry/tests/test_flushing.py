"""Does a worker that leaves send what it still holds?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from support.pool import both_servers, start_pool

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch
    from tests.conftest import Sentry

# Without the SDK's own flush at the interpreter's end, which not every server reaches.
APP = """
import os
import sentry_sdk

sentry_sdk.init(os.environ.get("APP_DSN"), default_integrations=False)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for number in range(20):
            sentry_sdk.capture_message(f"bye {number}")
        await send({"type": "lifespan.shutdown.complete"})
"""
DRIVER = """
import asyncio, sys, time
from launcher_sentry.flushing import launcher_wrap_app
from main import app

sent = []

async def receive():
    return {"type": "lifespan.startup"}

async def send(message):
    sent.append(message["type"])

before = time.monotonic()
asyncio.run(launcher_wrap_app(app)({"type": "lifespan"}, receive, send))
print(len(sent), round(time.monotonic() - before, 2))
sys.stdout.flush()
"""


@both_servers
def test_what_was_captured_last_arrives(launch: Launch, project: MakeProject, sentry: Sentry, server: str) -> None:
    """Twenty messages of the last moment, sent one by one in the background, of each worker that is told to end."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, workers=2, env={"APP_DSN": sentry.dsn})
    pool.ready(2)

    assert 0 == pool.end()
    assert {f"bye {number}": 2 for number in range(20)} == Counter(event["message"] for event in sentry.events)


@pytest.mark.parametrize(("dsn", "least_s", "most_s"), [("hangs", 1.8, 4.0), ("", 0.0, 1.0)])
def test_the_wait_is_bounded(project: MakeProject, sentry: Sentry, dsn: str, least_s: float, most_s: float) -> None:
    """A Sentry that does not answer holds the worker for two seconds, a client that is off not at all."""
    sentry.open.clear()
    folder = project({"main.py": APP, "driver.py": DRIVER})
    environ = {"PATH": "/usr/bin:/bin", "APP_DSN": sentry.dsn if dsn else ""}
    argv = [sys.executable, "driver.py"]
    with subprocess.Popen(argv, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as ran:
        messages, waited_s = (ran.stdout.readline() if ran.stdout else "").split()
        before = time.monotonic()  # the start, with the imports, takes as long as it takes on a busy machine
        code = ran.wait()
        took_s = time.monotonic() - before

    assert ("2", 0) == (messages, code)
    assert least_s <= float(waited_s) <= most_s
    assert took_s < 10
