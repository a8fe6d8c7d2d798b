"""How does one event become one line?

Every event has a constant dotted name in the past tense and its facts as fields (`launcher.lock_acquired`, `waited_s`).
One schema: `timestamp` (RFC 3339 UTC), `level`, `event`, then the facts; JSON when nobody looks, readable when a person
does. Lines go to stderr: stdout belongs to results of commands and to the application.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from launcher.redact import redact

if TYPE_CHECKING:
    from launcher.line_writer import LineWriter

LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50}

Format = Literal["auto", "console", "json"]
Render = Callable[[dict[str, object]], str]

ARBITER_PATIENCE_S = 0.1  # with who reads stderr: signals wait meanwhile
WORKER_PATIENCE_S = 0.5  # as long as no client minds, so that a reader that is only slow misses nothing


class Log:
    """The launcher's log. Lines before `configure` are kept and written then."""

    def __init__(self) -> None:
        """Begin silent: the settings, which say how lines look, have to be read first."""
        self.console = False
        self._render: Render | None = None
        self._level = LEVELS["info"]
        self._early: list[tuple[str, str, Mapping[str, object]]] = []
        self.listener: Callable[[str, Mapping[str, object]], object] | None = None  # told of every event, too

    def configure(self, form: Format, level: str) -> None:
        """Decide how lines look; write what has been kept."""
        both = sys.stdout.isatty() and sys.stderr.isatty()
        self.console = both if form == "auto" else form == "console"
        self._level = LEVELS.get(level.lower(), LEVELS["info"])
        self._render = renderer(console=self.console)
        early, self._early = self._early, []
        for kept_level, event, facts in early:
            self._write(kept_level, event, facts)

    @property
    def configured(self) -> bool:
        """Whether lines are written yet."""
        return self._render is not None

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
        if self.listener is not None:
            self.listener(event, facts)
        self._write(level, event, facts)

    def _write(self, level: str, event: str, facts: Mapping[str, object]) -> None:
        if self._render is None:
            self._early.append((level, event, facts))
        elif LEVELS[level] >= self._level:
            # stderr full, closed, None, or just being written by what a signal interrupted: go on all the same
            with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
                write_line(sys.stderr, self.line(event, level, facts) + "\n")

    def line(self, event: str, level: str, facts: Mapping[str, object]) -> str:
        """Return the line of an event, without its end."""
        known = {name: _redacted(value) for name, value in facts.items()}
        render = self._render or _JSON.encode
        return render({"timestamp": timestamp(time.time()), "level": level, "event": redact(event), **known})


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 in RFC 3339, UTC, with microseconds."""
    whole = int(seconds)
    return f"{_whole_second(whole)}.{int((seconds - whole) * 1_000_000):06d}Z"


@functools.lru_cache(maxsize=4)
def _whole_second(seconds: int) -> str:
    """Return what all lines of one second share: it is the dearest part of an access log's line."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def renderer(*, console: bool, colors: bool | None = None) -> Render:
    """Return what makes a line of an event. `colors` None: when stderr is a terminal."""
    return _console_renderer(colors) if console else _JSON.encode


_JSON = json.JSONEncoder(ensure_ascii=False)


def _console_renderer(colors: bool | None) -> Render:  # noqa: FBT001 - as `renderer` has it
    """Return structlog's renderer. It costs 90 ms to import, rich among it: for a person, not for every start."""
    import structlog.dev

    wanted = sys.stderr is not None and sys.stderr.isatty() if colors is None else colors
    render = structlog.dev.ConsoleRenderer(colors=wanted, sort_keys=False)
    return lambda event: render(None, "", event)


def _redacted(value: object) -> object:
    """Mask passwords in every text of a fact."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _redacted(item) for name, item in value.items()}
    return value if value is None or isinstance(value, bool | int | float) else redact(str(value))


log = Log()
_stderr: LineWriter | None = None


def be_patient(patience_s: float) -> None:
    """From now on a line for stderr that nobody reads is dropped after `patience_s`; call it again after a fork."""
    global _stderr  # noqa: PLW0603 - a process has one stderr, whoever logs
    if _stderr is not None:
        _stderr.begin_anew(patience_s)
        return
    from launcher.line_writer import LineWriter

    _stderr = LineWriter(2, patience_s, _notice)


def write_line(stream: Any, line: str) -> None:
    """Write `line`, which has its end, to a text stream; to stderr with the patience of `be_patient`.

    Raises OSError, ValueError, or AttributeError for what is no stream.
    """
    if _stderr is not None and stream is not None and stream is sys.__stderr__:
        _stderr.write(line)
    else:
        stream.write(line)
        stream.flush()


def _notice(lines: int) -> str:
    return log.line("launcher.log_lines_dropped", "warning", {"lines": lines, "pid": os.getpid()}) + "\n"


def configure_child(decided: Mapping[str, object]) -> None:
    """Configure `log` after the exec as boot did; `decided`: `console` (bool) and `level` of the handover's `log`.

    Nobody who does not read stderr keeps this process from its work any more.
    """
    be_patient(ARBITER_PATIENCE_S)
    log.configure("console" if decided.get("console") else "json", str(decided.get("level", "info")))
