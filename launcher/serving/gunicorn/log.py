"""How does gunicorn write the launcher's lines?

By a `logger_class` of ours, unless the user has configured one, or a logging configuration. Its levels, files, syslog
and statsd stay what gunicorn makes of them; changed are how a line looks, where "-" is (stderr, also for requests),
and that a line which cannot be written is nobody's error.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from gunicorn.config import AccessLogFormat, LoggerClass
from gunicorn.glogging import Logger, SafeAtoms

from launcher.log import LEVELS
from launcher.serving.log_lines import LineFile, LineStream, Request, SchemaFormatter, Unlisted, clean


def choose_log(cfg: Any, decided: Mapping[str, Any]) -> None:
    """Set `logger_class` of gunicorn's configuration, where the user has not; `decided`: the handover's `log`."""
    if cfg.settings["logger_class"].get() not in (LoggerClass.default, "simple"):
        return
    if cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json:
        return
    cfg.set("logger_class", type("GunicornLog", (_base(cfg),), {"decided": dict(decided)}))


def _base(cfg: Any) -> type[GunicornLog]:
    """Return the class; with a statsd host gunicorn itself would take another one."""
    if cfg.statsd_host is None:
        return GunicornLog
    from gunicorn.instrument.statsd import Statsd

    return type("GunicornStatsdLog", (GunicornLog, Statsd), {})


class GunicornLog(Logger):
    """gunicorn's logger, with lines of the launcher's schema.

    A file named for a log gets JSON. Where `access_log_format` was set, gunicorn's own workers write that instead.
    """

    decided: ClassVar[Mapping[str, Any]] = {}
    atoms_wrapper_class: Any = staticmethod(lambda facts: facts)  # they make gunicorn's atoms safe themselves

    def setup(self, cfg: Any) -> None:
        """Make handlers, at the start and on HUP."""
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            if isinstance(handler, LineFile):
                handler.close()  # gunicorn only drops it; were it to stay after all, its next line opens it again
        super().setup(cfg)
        if self.decided.get("level") == "trace" and cfg.loglevel == "debug":  # uvicorn's level: gunicorn has no name
            self.error_log.setLevel(LEVELS["trace"])

    def atoms(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: Any) -> dict[str, Any]:
        """Return the facts of a request; gunicorn's own atoms are made when a format asks for them."""
        make_atoms = super().atoms
        status = resp.status
        seconds = request_time.seconds + request_time.microseconds / 1e6
        return _GunicornRequest(
            {
                "client": environ.get("REMOTE_ADDR", "-").strip("-") or None,  # "-": a Unix socket has none
                "method": environ["REQUEST_METHOD"],
                "path": environ["RAW_URI"],
                "http_version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
                "status": int(status.split(None, 1)[0]) if isinstance(status, str) else status,
                "duration_s": round(seconds, 6),
            },
            lambda: make_atoms(resp, req, environ, request_time),
        )

    def reopen_files(self) -> None:
        """Open log files again (USR1): in a worker this is a signal's handler, which may interrupt anything."""
        with contextlib.suppress(OSError):  # the next line tries again, and says so
            super().reopen_files()

    def _set_handler(self, log: logging.Logger, output: str | None, fmt: logging.Formatter, stream: Any = None) -> None:
        """Put our handler in the place of gunicorn's, which has checked and given away the file."""
        super()._set_handler(log, output, fmt, stream)
        theirs = self._get_gunicorn_handler(log)
        if theirs is None or output is None:
            return
        log.removeHandler(theirs)
        theirs.close()
        console = bool(self.decided.get("console"))
        ours: Any = LineStream() if output == "-" else LineFile(output)
        ours.setFormatter(self._formatter(console=console and output == "-"))
        if log is self.access_log:
            ours.addFilter(Unlisted(self.decided.get("access_exclude") or ()))
        ours._gunicorn = True  # noqa: SLF001 - gunicorn's mark: it replaces this handler on HUP
        log.addHandler(ours)

    def _formatter(self, *, console: bool) -> logging.Formatter:
        if self.cfg.access_log_format == AccessLogFormat.default:
            return SchemaFormatter(console=console)
        return _OwnFormat(console=console)


class _OwnFormat(SchemaFormatter):
    """The user's `access_log_format` for requests that gunicorn's own workers answered, the schema for the rest."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return clean(record.getMessage()) if isinstance(record.args, Request) else super().format(record)


class _GunicornRequest(Request):
    """The facts of a request, and gunicorn's atoms (`%(h)s`, `%({x-request-id}i)s`) for who formats them its way."""

    __slots__ = ("_atoms", "_make_atoms")

    def __init__(self, facts: Mapping[str, Any], make_atoms: Callable[[], dict[str, Any]]) -> None:
        super().__init__(facts)
        self._make_atoms = make_atoms
        self._atoms: SafeAtoms | None = None

    def __missing__(self, key: str) -> Any:
        if self._atoms is None:
            self._atoms = SafeAtoms(self._make_atoms())
        return self._atoms[key]
