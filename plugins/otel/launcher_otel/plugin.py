"""What happens with an incident?

Decided by the standard variables alone: opentelemetry.io/docs/specs/otel/protocol/exporter. OpenTelemetry is imported
when there is something to send.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from launcher import Incident, hookimpl

if TYPE_CHECKING:
    from launcher_otel.exporting import Exporting

# Without either no process is started for us.
launcher_only_with = ("$OTEL_EXPORTER_OTLP_ENDPOINT", "$OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OURS = "http/protobuf"


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Tell whether logs are to be exported. Raises ValueError for a protocol that is not ours."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_LOGS_EXPORTER", "").strip().lower() == "none" or not any(map(environ.get, _ENDPOINTS)):
        return False
    for variable in _PROTOCOLS:
        if protocol := environ.get(variable, "").strip().lower():
            if protocol != _OURS:
                raise ValueError(
                    f"{variable}: {protocol!r} is not spoken here; set {_PROTOCOLS[0]}={_OURS} and"
                    f" {_ENDPOINTS[0]}=http://HOST:4318/v1/logs"
                )
            break
    return True


class _Plugin:
    """Makes what exports when it is needed, and keeps it."""

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.exporting: Exporting | None = None

    def send(self, report: Incident) -> None:
        if not self.wanted:
            return
        if self.exporting is None:
            from launcher_otel.exporting import Exporting

            self.exporting = Exporting(os.environ)
        self.exporting.send(report)


_PLUGIN = _Plugin(wanted=is_wanted(os.environ))


@hookimpl
def launcher_incident(report: Incident) -> None:
    """Export it as one log record. Raises NotTaken while the receiver does not take it."""
    _PLUGIN.send(report)
