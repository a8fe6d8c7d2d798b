"""Does a report reach the receiver as one record, and however that behaves?"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from launcher_otel.exporting import Exporting, NotTaken
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

from support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.crash_report import MakeIncident
    from tests.conftest import Collector

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PLANTED = {
    "title": "connect to postgresql://app:geheim@db/orders failed",
    "evidence": ["connect to postgresql://app:geheim@db/orders failed"],
    "in_flight": [{"method": "GET", "path": "/login?token=geheim", "age_s": 0.1}],
    "stacks": "  File main.py, line 7\nOperationalError: password=geheim\n",
    "last_log": ["Authorization: Bearer geheim", '{"password": "geheim"}'],
}


@pytest.fixture
def exporting(receiver: Collector, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Exporting]:
    """Make what exports to the receiver, with these variables: `exporting(OTEL_SERVICE_NAME="shop")`."""

    def make(**variables: str) -> Exporting:
        environ = {ENDPOINT: receiver.url, **variables}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return Exporting(environ)

    return make


def test_the_record(receiver: Collector, exporting: Callable[..., Exporting], incident: MakeIncident) -> None:
    """Severity, body, time, the conventions' names, the launcher's for the rest, and the service as its resource."""
    exporting().send(incident())
    (got,) = receiver.got
    (record,) = receiver.records
    said = record.attributes

    assert "/v1/logs" == got.path
    assert ("launcher.incident", "Worker 4711 ended by SIGSEGV") == (record.event_name, record.body)
    assert (17, "ERROR") == record.severity
    assert 1795355101123000000 == record.time_ns
    assert said["exception.stacktrace"].startswith("Fatal Python error")
    assert ("Worker 4711 ended by SIGSEGV", 4711) == (said["exception.message"], said["process.pid"])
    assert "20261122T134501.123456Z-4f2a9c" == said["log.record.uid"]
    assert ("native-crash", "certain", "SIGSEGV") == tuple(
        said[f"launcher.{name}"] for name in ("verdict", "confidence", "signal")
    )
    assert ["GET /orders 0.2s"] == said["launcher.in_flight"]
    assert (1000, 4000, 3) == tuple(
        said[f"launcher.memory.{name}"] for name in ("private_bytes", "limit_bytes", "oom_kill_after")
    )
    assert ("shop.main", "2026.11", "web-1") == tuple(
        record.resource[name] for name in ("service.name", "service.version", "host.name")
    )


def test_an_end_of_the_launcher(
    receiver: Collector, exporting: Callable[..., Exporting], incident: MakeIncident
) -> None:
    """It is fatal; what is not known is left out, and no empty value is sent."""
    nothing: dict[str, Any] = {
        "pid": None,
        "wait_status": {},
        "stacks": "",
        "memory": {},
        "in_flight": [],
        "last_log": [],
    }
    exporting().send(incident(kind="crash-loop", verdict=None, exit_code=70, **nothing))
    record = receiver.records[0]

    assert (21, "FATAL") == record.severity
    assert 70 == record.attributes["launcher.exit_code"]
    assert not record.attributes.keys() & {"exception.stacktrace", "process.pid", "launcher.verdict"}
    assert None not in record.attributes.values()


def test_the_standard_variables(
    receiver: Collector, exporting: Callable[..., Exporting], incident: MakeIncident
) -> None:
    """Endpoint of the logs, headers and compression; the service's name and attributes stand above the report."""
    exporting(
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{receiver.url}/own/path",
        OTEL_EXPORTER_OTLP_HEADERS="x-team=shop,x-key=a%20b",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_SERVICE_NAME="orders",
        OTEL_RESOURCE_ATTRIBUTES="service.version=7,deployment.environment.name=prod",
    ).send(incident())
    (got,) = receiver.got
    resource = receiver.records[0].resource

    assert ("/own/path", "gzip") == (got.path, got.headers["Content-Encoding"])
    assert ("shop", "a b") == (got.headers["x-team"], got.headers["x-key"])
    assert got.headers["Authorization"].startswith("Basic ")
    assert ("orders", "7", "prod") == tuple(
        resource[name] for name in ("service.name", "service.version", "deployment.environment.name")
    )


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429, 301, 307])
def test_who_does_not_take_it_is_asked_again(
    receiver: Collector, exporting: Callable[..., Exporting], incident: MakeIncident, status: int
) -> None:
    """One attempt, then it raises; the next one succeeds. No redirect is followed."""
    receiver.answers = [status]
    sender = exporting()
    with pytest.raises(NotTaken, match=f"^answered {status}$"):
        sender.send(incident())
    attempts = len(receiver.got)
    sender.send(incident())

    assert 1 == attempts
    assert ["/v1/logs"] * 2 == [got.path for got in receiver.got]


def test_what_is_refused_for_good_is_given_up(
    receiver: Collector,
    exporting: Callable[..., Exporting],
    incident: MakeIncident,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A 4xx, and a 200 that rejects the record: nothing is raised, and the log says each once."""
    receiver.answers = [400, 400]
    sender = exporting()
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            sender.send(incident())
        rejected = ExportLogsPartialSuccess(rejected_log_records=1, error_message="geheim")
        receiver.says = ExportLogsServiceResponse(partial_success=rejected).SerializeToString()
        for _ in range(2):
            sender.send(incident())

    assert 4 == len(receiver.got)
    assert ["answered 400", "answered 200"] == re.findall(r"answered \d+", caplog.text)
    assert "geheim" not in caplog.text


def test_an_answer_that_is_none_of_otlp(
    receiver: Collector, exporting: Callable[..., Exporting], incident: MakeIncident, caplog: pytest.LogCaptureFixture
) -> None:
    """A 2xx is enough."""
    receiver.says = b"thank you"
    with caplog.at_level(logging.WARNING):
        exporting().send(incident())

    assert not caplog.text


def test_silence_is_bounded(receiver: Collector, exporting: Callable[..., Exporting], incident: MakeIncident) -> None:
    """A receiver that does not answer costs the timeout."""
    receiver.open.clear()
    sender, began = exporting(OTEL_EXPORTER_OTLP_TIMEOUT="0.3"), time.monotonic()
    with pytest.raises(NotTaken, match=r"^no answer: ReadTimeout$"):
        sender.send(incident())

    assert time.monotonic() - began < 4
    assert 1 == len(receiver.got)


def test_nobody_there(
    exporting: Callable[..., Exporting], incident: MakeIncident, caplog: pytest.LogCaptureFixture
) -> None:
    """It raises at once; nothing has the URL in it."""
    sender, began = exporting(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://u:geheim@127.0.0.1:{free_port()}"), time.monotonic()
    with caplog.at_level(logging.DEBUG), pytest.raises(NotTaken, match=r"^no answer: ConnectionError$"):
        sender.send(incident())

    assert time.monotonic() - began < 2
    assert "geheim" not in caplog.text


def test_nothing_secret_is_sent(
    receiver: Collector, exporting: Callable[..., Exporting], incident: MakeIncident
) -> None:
    """Passwords that a report should not have any more do not leave the machine; nor does the environment."""
    exporting(DATABASE_URL="postgresql://app:geheim@db/orders").send(incident(**PLANTED))
    (got,) = receiver.got

    assert b"geheim" not in got.body
    assert b"/login" in got.body


def test_a_timeout_that_is_none(exporting: Callable[..., Exporting]) -> None:
    """It is named."""
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_TIMEOUT: 'soon'"):
        exporting(OTEL_EXPORTER_OTLP_LOGS_TIMEOUT="soon")
