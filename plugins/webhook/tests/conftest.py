"""What do the plugin's tests get by naming it?"""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from launcher import Incident
from support.spawning import Spawner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    MakeIncident = Callable[..., Incident]

REPORT: dict[str, Any] = {
    "schema": 1,
    "id": "20261122T134501.123456Z-4f2a9c",
    "at": "2026-11-22T13:45:01.123Z",
    "kind": "crash",
    "title": "Worker 4711 ended by SIGSEGV",
    "verdict": "native-crash",
    "confidence": "certain",
    "evidence": ["the wait status says SIGSEGV"],
    "pid": 4711,
    "slot": 0,
    "generation": 1,
    "number": 3,
    "stage": "ready",
    "age_s": 12.5,
    "wait_status": {"signal": "SIGSEGV"},
    "exit_code": None,
    "in_flight": [{"method": "GET", "path": "/orders", "age_s": 0.2}],
    "more_in_flight": 2,
    "memory": {
        "samples": [{"age_s": 0.4, "private_bytes": 1000, "shared_bytes": 2000}],
        "group": {"usage_bytes": 3000, "limit_bytes": 4000},
        "counters": {"oom_kill": [3, 3]},
    },
    "stacks": "Fatal Python error: Segmentation fault\n  File main.py, line 7 in crash\n",
    "last_log": ["before"],
    "restarts_in_window": 1,
    "merged": 0,
    "app": "shop.main:app",
    "release": "2026.11",
    "host": "web-1",
    "launcher_pid": 4700,
    "versions": {"python": "3.11.2", "launcher": "0.1.0"},
}


class Got(NamedTuple):
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver(http.server.ThreadingHTTPServer):
    """A server on loopback; `answers` are the statuses it gives, one after the other, and 200 from then on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.got: list[Got] = []
        self.answers: list[int] = []
        self.open = threading.Event()  # cleared: it does not answer
        self.open.set()
        self.scheme = "http"

    @property
    def url(self) -> str:
        """Return an address with something in it that nobody may see."""
        return f"{self.scheme}://127.0.0.1:{self.server_port}/hook/geheim"

    def handle_error(self, *_: object) -> None:
        """Say nothing of who does not wait for an answer."""


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(Got(self.path, dict(self.headers), body))
        self.server.open.wait(15)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.got.append(Got(self.path, {}, b""))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receivers() -> Iterator[Callable[[], Receiver]]:
    """Run as many receivers as are asked for."""
    running: list[Receiver] = []

    def run() -> Receiver:
        receiver = Receiver()
        threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True).start()
        running.append(receiver)
        return receiver

    yield run
    for receiver in running:
        receiver.open.set()
        receiver.shutdown()
        receiver.server_close()


@pytest.fixture
def receiver(receivers: Callable[[], Receiver]) -> Receiver:
    """Run one."""
    return receivers()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawner]:
    """Start any command, as the core's fixture does."""
    spawner = Spawner(tmp_path / "processes")
    yield spawner
    spawner.end()


@pytest.fixture
def report() -> dict[str, Any]:
    """Return the document of a report."""
    return dict(REPORT)


@pytest.fixture
def incident() -> MakeIncident:
    """Make the record of a report: `incident(kind="boot-failed")`."""
    return lambda **facts: Incident.from_report({**REPORT, **facts})
