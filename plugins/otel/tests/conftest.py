"""What do the plugin's tests get by naming it?"""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from launcher import Incident
from support.spawning import Spawner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

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


class Record(NamedTuple):
    """A log record as it was received."""

    event_name: str
    severity: tuple[int, str]
    body: str
    time_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Got(NamedTuple):
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def record(self) -> Record:
        """The only record in it."""
        (of_resource,) = ExportLogsServiceRequest.FromString(self.body).resource_logs
        (scope,) = of_resource.scope_logs
        (record,) = scope.log_records
        return Record(
            record.event_name,
            (record.severity_number, record.severity_text),
            record.body.string_value,
            record.time_unix_nano,
            _values(record.attributes),
            _values(of_resource.resource.attributes),
        )


def _values(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


class Receiver(http.server.ThreadingHTTPServer):
    """A collector on loopback; `answers` are the statuses it gives, one after the other, and 200 from then on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.got: list[Got] = []
        self.answers: list[int] = []
        self.says = b""  # an ExportLogsServiceResponse
        self.open = threading.Event()  # cleared: it does not answer
        self.open.set()

    @property
    def url(self) -> str:
        """Return its address, with a password in it."""
        return f"http://user:geheim@127.0.0.1:{self.server_port}"

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
        self.send_header("Content-Length", str(len(self.server.says)))
        self.end_headers()
        self.wfile.write(self.server.says)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run one."""
    with Receiver() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.open.set()
        running.shutdown()


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
