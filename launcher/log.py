"""How does one event become one line?

Every event has a constant dotted name in the past tense and its facts as fields (`launcher.lock_acquired`, `waited_s`).
One schema: `timestamp` (RFC 3339 UTC), `level`, `event`, then the facts; JSON when nobody looks, readable when a person
does. Lines go to stderr: stdout belongs to results of commands and to the application.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

from launcher.redact import redact

LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50}

Format = Literal["auto", "console", "json"]


class Log:
    """The launcher's log. Lines before `configure` are kept and written then."""

    def __init__(self) -> None:
        """Begin silent: the settings, which say how lines look, have to be read first."""
        self.console = False
        self._logger: Any = None
        self._level = LEVELS["info"]
        self._early: list[tuple[str, str, Mapping[str, object]]] = []

    def configure(self, form: Format, level: str) -> None:
        """Decide how lines look; write what has been kept."""
        both = sys.stdout.isatty() and sys.stderr.isatty()
        self.console = both if form == "auto" else form == "console"
        self._level = LEVELS.get(level.lower(), LEVELS["info"])
        self._logger = _make_logger(console=self.console)
        early, self._early = self._early, []
        for kept_level, event, facts in early:
            self._emit(kept_level, event, facts)

    @property
    def configured(self) -> bool:
        """Whether lines are written yet."""
        return self._logger is not None

    def debug(self, event: str, **facts: object) -> None:
        """Write what only a developer of the launcher needs."""
        self._emit("debug", event, facts)

    def info(self, event: str, **facts: object) -> None:
        """Write what happened."""
        self._emit("info", event, facts)

    def warning(self, event: str, **facts: object) -> None:
        """Write what somebody should look at some day."""
        self._emit("warning", event, facts)

    def error(self, event: str, **facts: object) -> None:
        """Write what somebody must look at now."""
        self._emit("error", event, facts)

    def _emit(self, level: str, event: str, facts: Mapping[str, object]) -> None:
        if self._logger is None:
            self._early.append((level, event, facts))
        elif LEVELS[level] >= self._level:
            getattr(self._logger, level)(event, **facts)


def _make_logger(*, console: bool) -> Any:
    """Return a structlog logger for stderr."""
    structlog = _structlog(console=console)
    last = (
        structlog.dev.ConsoleRenderer(colors=True, sort_keys=False)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redacted,
            _in_order,
            last,
        ],
    )


def _structlog(*, console: bool) -> Any:
    """Import structlog; for JSON without rich, which it loads for console tracebacks only (50 of its 90 ms)."""
    hidden = not console and "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        import structlog  # heavy
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog


def _redacted(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask passwords in every text of the event."""
    for key, value in event.items():
        event[key] = _redact_value(value)
    return event


def _redact_value(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_redact_value(item) for item in value]
    return value


def _in_order(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put what every line has first."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return {**first, **event}


log = Log()
