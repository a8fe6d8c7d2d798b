"""What does a report say in OpenTelemetry's words?

Names are those of the semantic conventions (opentelemetry.io/docs/specs/semconv) where there are some, and `launcher.*`
otherwise. Passwords were masked where the report was made; they are again here, where it leaves the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launcher.redact import redact

if TYPE_CHECKING:
    from launcher import Incident

Value = str | int | float | list[str]

_AS_THEY_ARE = (
    "schema",
    "kind",
    "verdict",
    "confidence",
    "slot",
    "generation",
    "number",
    "stage",
    "age_s",
    "exit_code",
    "more_in_flight",
    "restarts_in_window",
    "merged",
    "app",
)


def resource(report: Incident) -> dict[str, str]:
    """Return what the service is, as far as the report says it."""
    known = {
        "service.name": report.app.partition(":")[0],
        "service.version": report.release,
        "host.name": report.host,
    }
    return {name: redact(value) for name, value in known.items() if value}


def body(report: Incident) -> str:
    """Return the sentence for people."""
    return redact(report.title) or f"{report.kind}: {report.verdict or 'no verdict'}"


def is_fatal(report: Incident) -> bool:
    """Tell whether the launcher ended by it, and not a worker alone."""
    return report.exit_code is not None


def time_ns(report: Incident) -> int:
    """Return when it was, in nanoseconds of Unix time. Raises ValueError."""
    return int(datetime.fromisoformat(report.at).timestamp() * 1_000_000) * 1000


def attributes(report: Incident) -> dict[str, Value]:
    """Return everything else; what is not known is left out."""
    said: dict[str, Any] = {
        "log.record.uid": report.id,  # two records with one uid are one: a repeated delivery is recognised by it
        "exception.message": body(report),
        "exception.stacktrace": report.stacks,
        "process.pid": report.pid,
        "process.exit.code": report.wait_status.get("code"),
        "process.runtime.version": report.versions.get("python"),
        **{f"launcher.{name}": getattr(report, name) for name in _AS_THEY_ARE},
        "launcher.pid": report.launcher_pid,
        "launcher.version": report.versions.get("launcher"),
        "launcher.signal": report.wait_status.get("signal"),
        "launcher.evidence": report.evidence,
        "launcher.in_flight": [_request(one) for one in report.in_flight],
        "launcher.last_log": report.last_log,
        **_memory(report.memory),
    }
    return {name: _value(value) for name, value in said.items() if value is not None and value not in ("", (), [])}


def _request(request: Mapping[str, Any]) -> str:
    """Return method, path without its query, and age."""
    path = str(request.get("path", "")).partition("?")[0]
    return f"{request.get('method', '')} {path} {request.get('age_s', '?')}s".strip()


def _memory(memory: Mapping[str, Any]) -> dict[str, Any]:
    """Return the newest sample, the group's numbers, and its counter of kills."""
    samples: Iterable[Mapping[str, Any]] = memory.get("samples") or ()
    newest = min(samples, key=lambda sample: float(sample.get("age_s", 0)), default={})
    before, after = (memory.get("counters") or {}).get("oom_kill") or (None, None)
    facts = {**newest, **(memory.get("group") or {}), "oom_kill_before": before, "oom_kill_after": after}
    return {f"launcher.memory.{name}": value for name, value in facts.items() if isinstance(value, int | float)}


def _value(value: object) -> Value:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [redact(str(one)) for one in value]
    return redact(str(value))
