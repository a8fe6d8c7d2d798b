"""What do the plugin's tests get by naming it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from support import crash_report, fixtures
from support.receiver import Got, Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

spawn = fixtures.spawn
report = crash_report.report
incident = crash_report.incident


class Record(NamedTuple):
    """A log record as it was received."""

    event_name: str
    severity: tuple[int, str]
    body: str
    time_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector(Receiver):
    """Where log records are sent to."""

    @property
    def url(self) -> str:
        """Return its address, with a password in it."""
        return f"http://user:geheim@{self.address}"

    @property
    def records(self) -> list[Record]:
        """The only record of each request."""
        return [_record(got) for got in self.got]


def _record(got: Got) -> Record:
    (of_resource,) = ExportLogsServiceRequest.FromString(got.unpacked).resource_logs
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


@pytest.fixture
def receiver() -> Iterator[Collector]:
    """Run one."""
    with receiving(Collector()) as running:
        yield running
