"""Do all processes of a server write lines of one schema, and can a failing log do no harm?"""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support import become
from support.serving import GUNICORN, POOLS, each_pool, start
from support.waiting import free_port, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
APP = """
import logging, sys
print("printed")
logging.getLogger("mine").warning("logged")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/broken":
        raise RuntimeError("no connection to postgresql://app:S3kret@db/orders")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
APPS_OWN = "logged"  # by logging's last resort, which writes the bare message
CONSOLE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[(debug|info|warning|error) +\] \S")


def with_log(asked: dict[str, Any], **log: object) -> dict[str, Any]:
    """Return the pool with settings of the log."""
    return asked | {"plan": asked.get("plan", {}) | {"log": log}}


def requests(launched: Launched) -> list[str]:
    """Return the paths in the access log."""
    return [event["path"] for event in launched.events if event["event"] == "launcher.request_answered"]


@each_pool
def test_every_line_has_the_schema(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """Whatever the servers say is a JSON line on stderr; the application's own output is as it wrote it."""
    port = free_port()
    plan = with_log(asked, access_log_exclude=["/healthz"])
    launched = start(spawn, project({"main.py": APP}), plan, f"127.0.0.1:{port}")
    launched.wait_http(port, "/healthz")
    launched.wait_http(port, "/a%20b?token=S3kret&page=2")
    launched.wait_http(port, "/broken")
    launched.stop()
    lines = [json.loads(line) for line in launched.stderr.splitlines() if line != APPS_OWN]
    asked_for = [line for line in lines if line["event"] == "launcher.request_answered"]
    failed = next(line for line in lines if "RuntimeError" in line.get("exception", ""))

    assert {"printed"} == set(launched.stdout.splitlines())
    assert APPS_OWN in launched.stderr.splitlines()
    assert all(["timestamp", "level", "event"] == list(line)[:3] for line in lines)
    assert all({"logger", "pid"} <= set(line) for line in lines if not line["event"].startswith("launcher."))
    assert "/a%20b?token=***&page=2" == asked_for[0]["path"]
    assert {"client", "method", "path", "http_version", "status"} <= set(asked_for[0])
    assert ("127.0.0.1", "GET", "1.1", 200) == tuple(
        asked_for[0][name] for name in ("client", "method", "http_version", "status")
    )
    assert "/healthz" not in requests(launched)
    assert "error" == failed["level"]
    assert "S3kret" not in launched.stderr


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_console(launch: Launch, project: MakeProject, server: str) -> None:
    """On a console the server's lines look as those of the boot before them."""
    port = free_port()
    words = ("--server", server, "--workers", "2", "--port", str(port), "--log-format", "console")
    launched = launch("run", *words, cwd=project({"main.py": APP}))
    until(lambda: launched.stderr.count("launcher.worker_ready") == 2, "both workers", timeout_s=30)
    launched.wait_http(port, "/asked-for")
    launched.stop()
    lines = [line for line in launched.stderr.splitlines() if line != APPS_OWN]

    assert [] == [line for line in lines if not CONSOLE.match(line)]
    assert re.search(r"launcher\.handed_over ", launched.stderr)
    assert re.search(r"launcher\.request_answered +\[uvicorn\.access\] .*path=/asked-for", launched.stderr)


def test_trace(spawn: Spawner, project: MakeProject) -> None:
    """What uvicorn tells at its lowest level has the schema too."""
    port = free_port()
    launched = start(spawn, project({"main.py": APP}), with_log(POOLS["uvicorn-3"], level="trace"), f"127.0.0.1:{port}")
    launched.wait_http(port)
    launched.stop()

    assert {"trace"} == {event["level"] for event in launched.events if "ASGI [" in event["event"]}


def test_files(spawn: Spawner, project: MakeProject, tmp_path: Path) -> None:
    """Files that were named get JSON lines, what the application prints among them if asked; USR1 opens them again."""
    port = free_port()
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    plan = with_log(GUNICORN, access_log=str(access), error_log=str(error))
    plan["plan"]["pool"] = {"server_args": ["--capture-output"]}
    launched = start(spawn, project({"main.py": APP}), plan, f"127.0.0.1:{port}")
    launched.wait_http(port, "/1")
    access.rename(tmp_path / "old.log")
    launched.signal(signal.SIGUSR1)
    until(access.exists, "a new access log")
    until(lambda: "/2" in launched.wait_http(port, "/2")[1] + access.read_text(), "a line in the new file")
    launched.stop()
    said = error.read_text().splitlines()

    assert {"/1", "/2"} >= {json.loads(line)["path"] for line in (tmp_path / "old.log").read_text().splitlines()}
    assert {"/2"} == {json.loads(line)["path"] for line in access.read_text().splitlines()}
    assert {"printed", APPS_OWN} == {line for line in said if not line.startswith("{")}
    assert any("Starting gunicorn" in json.loads(line)["event"] for line in said if line.startswith("{"))


@linux_only
def test_a_full_disk(spawn: Spawner, project: MakeProject) -> None:
    """A log file that cannot be written is said once, without a traceback, and requests are answered."""
    port = free_port()
    plan = with_log(GUNICORN, access_log="/dev/full")
    launched = start(spawn, project({"main.py": APP}), plan, f"127.0.0.1:{port}")
    answers = [launched.wait_http(port, f"/{number}")[0] for number in range(5)]
    launched.stop()
    failures = [event for event in launched.events if event["event"] == "launcher.log_file_failed"]

    assert [200] * 5 == answers
    assert ["/dev/full"] == [event["path"] for event in failures]
    assert "Traceback" not in launched.stderr


@linux_only
@each_pool
def test_stderr_that_cannot_be_written(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """Requests are answered and the server stops as asked, whatever becomes of its lines."""
    port = free_port()
    driver = [sys.executable, become.__file__, json.dumps({"bind": [f"127.0.0.1:{port}"]} | asked)]
    launched = spawn(["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *driver], cwd=project({"main.py": APP}), env={})
    answers = [launched.wait_http(port, path)[0] for path in ("/", "/broken", "/")]
    status = launched.stop()

    assert ([200, 500, 200], 0) == (answers, status)
