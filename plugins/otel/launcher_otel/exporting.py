"""How does a record get to the receiver?

By the exporter of OpenTelemetry, which reads the standard variables, under a LoggerProvider of our own that nobody else
gets records into. One attempt a call, told at once: the launcher asks again. Redirects are not followed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import requests
from google.protobuf.message import DecodeError
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from launcher import __version__
from launcher_otel.attributes import attributes, body, is_fatal, resource, time_ns

if TYPE_CHECKING:
    from launcher import Incident

TIMEOUT_S = 5.0  # the launcher leaves a call behind after 10 s (launcher/hookspecs.py); the usual one would be 10 s
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_TAKEN, _FINAL = range(200, 300), range(400, 500)
_TRANSIENT = frozenset({408, 425, 429})  # RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4: say that it may be tried again
_MOST_SERVICES = 4  # releases whose reports are sent by one process

_log = logging.getLogger("launcher_otel")


class NotTaken(Exception):
    """The receiver has not taken a report, and may take it another time."""


class _Session(requests.Session):
    """Keeps the last outcome, which the exporter does not tell; what is no 2xx is an error.

    The error is one that the exporter does not try again by itself, and has no URL in it: a password may be there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status, self.because, self.answer = 0, "", b""

    def request(self, method: str, url: str | bytes, *arguments: Any, **options: Any) -> requests.Response:
        """Ask once."""
        self.status, self.because, self.answer = 0, "", b""
        try:
            response = super().request(method, url, *arguments, **{**options, "allow_redirects": False})
        except requests.RequestException as error:
            self.because = f"no answer: {type(error).__name__}"
        else:
            self.status = response.status_code
            if self.status in _TAKEN:
                self.answer = response.content
                return response
            self.because = f"answered {self.status}"
        raise requests.RequestException(self.because)


class _AtOnce(LogRecordProcessor):
    """Exports a record in the thread that emits it, and raises when that fails."""

    def __init__(self, exporter: LogRecordExporter, session: _Session) -> None:
        self._exporter, self._session = exporter, session
        self._said: set[int] = set()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Export it. Raises NotTaken."""
        readable = ReadableLogRecord(
            log_record=log_record.log_record,
            resource=log_record.resource or Resource.get_empty(),
            instrumentation_scope=log_record.instrumentation_scope,
            limits=log_record.limits,
        )
        done, status = self._is_exported(readable), self._session.status
        if not done and (status not in _FINAL or status in _TRANSIENT):
            raise NotTaken(self._session.because or "it could not be sent")
        if not done or _is_rejected(self._session.answer):
            self._give_up(status)

    def _is_exported(self, record: ReadableLogRecord) -> bool:
        try:
            return self._exporter.export([record]) is LogRecordExportResult.SUCCESS
        except requests.RequestException:  # the exporter of 1.39 lets these through; that of 1.45 does not
            return False

    def _give_up(self, status: int) -> None:
        """Say, once for each status, that sending it again would not help."""
        if status not in self._said:
            self._said.add(status)
            _log.warning("the OTLP receiver answered %d: the records that it refuses are not sent again", status)

    def shutdown(self) -> None:
        """Do nothing: the process ends, and its connections with it."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Return at once: nothing waits here."""
        return True


class Exporting:
    """Exports reports."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take the endpoint, headers, certificates and compression from the standard variables."""
        # What it would say of each attempt, the launcher says once, and counts.
        logging.getLogger(OTLPLogExporter.__module__).setLevel(logging.CRITICAL)
        session = _Session()
        self._processor = _AtOnce(OTLPLogExporter(session=session, timeout=_timeout_s(environ)), session)
        self._provider = lru_cache(_MOST_SERVICES)(self._new_provider)

    def send(self, report: Incident) -> None:
        """Export one record. Raises NotTaken when it was not taken, and may be another time."""
        severity = SeverityNumber.FATAL if is_fatal(report) else SeverityNumber.ERROR
        provider = self._provider(tuple(resource(report).items()))
        provider.get_logger("launcher", __version__).emit(
            timestamp=time_ns(report),
            severity_number=severity,
            severity_text=severity.name,
            body=body(report),
            attributes=attributes(report),
            event_name="launcher.incident",
        )

    def _new_provider(self, facts: tuple[tuple[str, str], ...]) -> LoggerProvider:
        """Return one of this service; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME stand above the report."""
        said = OTELResourceDetector().detect().attributes
        about = Resource.create({name: value for name, value in facts if name not in said})
        provider = LoggerProvider(about, shutdown_on_exit=False)
        provider.add_log_record_processor(self._processor)
        return provider


def _is_rejected(answer: bytes) -> bool:
    """Tell whether a 2xx refuses the record: then it is not to be sent again (OTLP, "Partial Success")."""
    try:
        return ExportLogsServiceResponse.FromString(answer).partial_success.rejected_log_records > 0
    except DecodeError:  # no answer of OTLP, but one that says that it was taken
        return False


def _timeout_s(environ: Mapping[str, str]) -> float:
    """Return the time of the variables (seconds, as the exporter has them), at most what the launcher waits for."""
    text = next((environ[name] for name in _TIMEOUTS if environ.get(name)), "")
    try:
        return min(float(text), TIMEOUT_S) if text else TIMEOUT_S
    except ValueError:
        raise ValueError(f"OTEL_EXPORTER_OTLP_TIMEOUT: {text!r} is no number of seconds") from None
