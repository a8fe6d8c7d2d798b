"""How does what a server says become a line of the launcher's schema?

`timestamp`, `level`, `event`, `logger`, `pid`, then `exception` and `stack` where there are any: as `launcher.log` has
it, and written by its renderers. A request is the event `launcher.request_answered` with its facts, whichever server
and worker class answered it. The application's own loggers and the root logger are not touched.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring as _text
from pathlib import Path
from typing import Any

from launcher.log import LEVELS, log, renderer, timestamp, write_line
from launcher.masking import without_secrets
from launcher.redact import MASK

REQUEST_ANSWERED = "launcher.request_answered"
ACCESS_LOGGER = "uvicorn.access"
_NAMES = {number: name for name, number in LEVELS.items() if name != "warn"}
_TRACEBACK = "Traceback (most recent call last):"
_HERE = "launcher.serving.log_lines"
# What stands in a query and opens something, beyond what `without_secrets` knows anywhere: OAuth's `code` (RFC 6749
# §4.1.2), signatures of signed URLs, sessions, one-time passwords.
_QUERY_SECRET = re.compile(
    r"(?P<head>[?&;](?:[\w.\-]*signature|sig|auth|key|code|jwt|session(?:_?id)?|sid|otp|ticket)=)[^&;#\s'\"]+",
    re.IGNORECASE,
)


class Request(dict[str, Any]):
    """The facts of one answered request: client, method, path, http_version, status and, if known, duration_s."""


class SchemaFormatter(logging.Formatter):
    """One record, one line: JSON, or as a person likes to read it."""

    def __init__(self, *, console: bool = False, use_colors: bool | None = None) -> None:
        """Prepare the renderer. `use_colors` is uvicorn's option; None: when stderr is a terminal."""
        super().__init__()
        self._console = console
        self._render = renderer(console=console, colors=use_colors)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Nothing that is in the record is an error."""
        request = _request(record)
        if request is None:
            return self._render(self._said(record))
        if self._console:
            return self._render({**_head(record, REQUEST_ANSWERED), **request})
        return _request_line(record, request)

    def _said(self, record: logging.LogRecord) -> dict[str, object]:
        event, exception = _apart(clean(_message(record)))
        line = _head(record, event)
        if record.exc_info and record.exc_info[0] is not None:
            exception = clean(self.formatException(record.exc_info))
        elif record.exc_text:  # it came through a queue
            exception = clean(record.exc_text)
        if exception:
            line["exception"] = exception
        if record.stack_info:
            line["stack"] = clean(record.stack_info)
        return line


def _head(record: logging.LogRecord, event: str) -> dict[str, object]:
    return {
        "timestamp": timestamp(record.created),
        "level": _level(record),
        "event": event,
        "logger": record.name,
        "pid": record.process,
    }


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelno) or record.levelname.lower()


def _request(record: logging.LogRecord) -> Mapping[str, object] | None:
    """Return the facts of a request, from gunicorn's (`GunicornLog`) or uvicorn's record; None of any other."""
    args = record.args
    if isinstance(args, Request):
        return {**args, "path": _clean_path(args["path"])}
    if record.name != ACCESS_LOGGER or not isinstance(args, tuple):
        return None
    try:
        client, method, path, http_version, status = args
    except ValueError:  # not a request
        return None
    return {
        "client": str(client).rpartition(":")[0] or None,  # uvicorn says `address:port`, gunicorn the address
        "method": method,
        "path": _clean_path(str(path)),
        "http_version": http_version,
        "status": status,
    }


def _request_line(record: logging.LogRecord, request: Mapping[str, object]) -> str:
    """Return the JSON line; what cannot need escaping is not looked at, which halves its cost."""
    facts = ", ".join([f'"{name}": {_json(value)}' for name, value in request.items()])
    return (
        f'{{"timestamp": "{timestamp(record.created)}", "level": "{_level(record)}", "event": "{REQUEST_ANSWERED}", '
        f'"logger": "{record.name}", "pid": {record.process}, {facts}}}'
    )


def _json(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    return str(value) if type(value) is int else json.dumps(value, default=str)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - whatever an argument's __str__ raises
        return f"{record.msg} {record.args!r}"


def _apart(message: str) -> tuple[str, str]:
    """Part a message from the traceback in it: a lifespan's failure arrives as text (ASGI's `message`)."""
    if _TRACEBACK not in message:
        return message.strip(), ""
    before, mark, traceback = message.partition(_TRACEBACK)
    last = traceback.rstrip().rpartition("\n")[2]
    return before.strip() or last.strip(), mark + traceback.rstrip()


def clean(text: str) -> str:
    """Return `text` without passwords, and without what opens something in a query."""
    text = without_secrets(text)
    return _QUERY_SECRET.sub(rf"\g<head>{MASK}", text) if "?" in text and "=" in text else text


def _clean_path(path: str) -> str:
    """Return what `clean` returns; it costs more than all else of a line, so names of a query are asked about once."""
    before, _, query = path.partition("?")
    unusual = "=" in before or ";" in query or query.count("=") > query.count("&") + 1
    if unusual or "@" in path or ":" in path or "%3" in path or "eyJ" in path:  # a JWT: whatever its name
        return clean(path)
    for pair in query.split("&") if query else ():
        if _is_secret(pair.partition("=")[0]):
            return clean(path)
    return path


@functools.lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    pair = f"?{name}=x"
    return clean(pair) != pair


class Unlisted(logging.Filter):
    """Leaves requests out of the access log: `paths` as they stand in a URL, a prefix where one ends with `*`."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        """Part exact paths from prefixes."""
        super().__init__()
        paths = tuple(paths)
        self._exact = frozenset(path for path in paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in paths if path.endswith("*"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is written."""
        path = _path(record)
        return path is None or not (path in self._exact or path.startswith(self._prefixes))


def _path(record: logging.LogRecord) -> str | None:
    args = record.args
    if isinstance(args, Request):
        return str(args["path"]).partition("?")[0]
    if record.name == ACCESS_LOGGER and isinstance(args, tuple) and len(args) == 5:  # noqa: PLR2004 - see `_request`
        return str(args[2]).partition("?")[0]
    return None


class LineStream(logging.StreamHandler[Any]):
    """Writes to stderr. A line that cannot be written, or that nobody reads, is lost, and nothing else happens."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            write_line(self.stream, self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as logging's own handlers have it
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Go on: there is nobody left to tell."""


class LineFile(logging.FileHandler):
    """Appends to a file; each line is one write, so that processes do not mix theirs.

    What cannot be written is lost; that is said once on stderr, and again after it has worked in between. A file that
    could not be opened again (`reopen_files`) is tried again with the next line.
    """

    def __init__(self, filename: str) -> None:
        """Open the file; OSError when that cannot be done."""
        self._failing = False
        super().__init__(filename, encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def flush(self) -> None:
        """Note that a line has been written: nothing is buffered."""
        self._failing = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say once that the file cannot be written."""
        del record
        if not self._failing:
            self._failing = True
            log.warning("launcher.log_file_failed", path=self.baseFilename, because=str(sys.exc_info()[1]))

    def _open(self) -> io.TextIOWrapper:
        raw = Path(self.baseFilename).open("ab", buffering=0)  # noqa: SIM115 - the handler closes it
        return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def reopen_files() -> None:
    """Open the log files of uvicorn's loggers again, after somebody has moved them away (USR1)."""
    for name in ("uvicorn", ACCESS_LOGGER):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, LineFile):
                handler.acquire()
                try:
                    handler.close()
                    with contextlib.suppress(OSError):  # the next line tries again, and says so
                        handler.stream = handler._open()  # noqa: SLF001 - this module's
                finally:
                    handler.release()


def uvicorn_log_config(decided: Mapping[str, Any]) -> dict[str, Any]:
    """Return what uvicorn.Config takes as `log_config`; it crosses to spawned processes.

    `decided` is the handover's `log`: `console`, `level`, `access` and `error` (bool or a file's name; "-" is stderr),
    `access_exclude`.
    """
    level = LEVELS.get(str(decided.get("level", "info")), LEVELS["info"])
    console = {"()": f"{_HERE}.SchemaFormatter", "console": bool(decided.get("console"))}
    access, error = decided.get("access", True), decided.get("error", True)
    unlisted = {"()": f"{_HERE}.Unlisted", "paths": list(decided.get("access_exclude") or ())}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        # uvicorn puts its --use-colors into "default" and "access"
        "formatters": {"default": console, "access": dict(console), "file": console | {"console": False}},
        "filters": {"unlisted": unlisted},
        "handlers": {
            "default": _handler(error, "default"),
            "access": _handler(access, "access") | {"filters": ["unlisted"]},
        },
        "loggers": {
            "uvicorn": {"handlers": ["default"], "level": level, "propagate": False},
            "uvicorn.error": {"level": level},
            ACCESS_LOGGER: {"handlers": ["access"] if access else [], "level": level, "propagate": False},
        },
    }


def _handler(target: bool | str, formatter: str) -> dict[str, Any]:  # noqa: FBT001 - a setting's value
    if not target:
        return {"class": "logging.NullHandler"}
    if target is True or target == "-":
        return {"class": f"{_HERE}.LineStream", "formatter": formatter}
    return {"class": f"{_HERE}.LineFile", "formatter": "file", "filename": target}
