"""How does a test start a real server, and which ones are there?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import become
from support.launched import http_get

if TYPE_CHECKING:
    from support.launched import Launched
    from support.spawning import Spawner


POOLS: dict[str, dict[str, Any]] = {
    "gunicorn": {"server": "gunicorn"},
    "gunicorn-3": {"server": "gunicorn", "plan": {"workers": 3}},
    "gunicorn-asgi": {"server": "gunicorn", "plan": {"pool": {"worker_class": "asgi"}}},
    "uvicorn": {"server": "uvicorn"},
    "uvicorn-3": {"server": "uvicorn", "plan": {"workers": 3}},
}
GUNICORN = POOLS["gunicorn"]
each_pool = pytest.mark.parametrize("asked", POOLS.values(), ids=POOLS)
each_server = pytest.mark.parametrize("asked", [POOLS["gunicorn"], POOLS["uvicorn"]], ids=["gunicorn", "uvicorn"])
APP = """
import json, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    answer = {
        "pid": os.getpid(), "ppid": os.getppid(), "root_path": scope["root_path"], "scheme": scope["scheme"],
        "client": scope["client"], "environ": dict(os.environ),
    }
    body = json.dumps(answer).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
"""
BROKEN = {
    "raises": "raise RuntimeError('broken on purpose')",
    "leaves": "import sys; sys.exit(1)",
    "missing": "import no_such_module",
    "no-attribute": "application = None",
    "lifespan": """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "broken on purpose"})
""",
}


def start(spawn: Spawner, cwd: Path, asked: dict[str, Any], *bind: str, env: dict[str, str] | None = None) -> Launched:
    """Start the driver in the project's folder."""
    words = [sys.executable, become.__file__, json.dumps({"bind": bind} | asked)]
    return spawn(words, cwd=cwd, env=env or {})


def tell(launched: Launched, port: int) -> dict[str, Any]:
    """Return what the application says about its request and its process."""
    return dict(json.loads(launched.wait_http(port)[1]))


def another_worker(port: int, seen: set[int]) -> int | None:
    """Return the pid of the worker that answers when it is a new one."""
    answer = http_get(port)
    pid: int | None = json.loads(answer[1])["pid"] if answer else None
    return None if pid in seen else pid
