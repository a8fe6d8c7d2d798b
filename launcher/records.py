"""What do processes and plugins tell each other?

Frozen values. What is handed to a plugin has been checked, and so is what comes from one: the error says which field.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from launcher.incidents.kinds import Kind as Kind  # noqa: PLC0414 - plugins import it from here

Group = Literal["readiness", "startup"]
Verdict = Literal["oom", "killed", "native-crash", "hang", "boot-failed", "boot-hang", "exited", "unknown"]
Confidence = Literal["certain", "probable", "guess"]

LEAST_INTERVAL_S, LONGEST_TIMEOUT_S = 0.1, 300.0
# Lines of probes that are ours (launcher.monitor): a check of this name would be taken for one.
RESERVED = frozenset({"draining", "http", "launcher", "plugins", "started", "workers"})
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}", re.ASCII)  # it is part of a path: /readyz/<name>


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A question that is asked again and again; what it found last is part of a probe's answer.

    name: lower case letters, digits, `-`, `_`, `.`; the line of the probe, and `/readyz/<name>`.
    probe: called in a thread of the plugin host; passes by returning, fails by raising (the text is shown).
    group: "readiness" (may requests come?) or "startup" (has it started?); liveness never asks a dependency.
    interval, timeout: in seconds; a probe that takes longer than `timeout` has failed.
    """

    name: str
    probe: Callable[[], object]
    group: Group = "readiness"
    interval: float = 10.0  # as often as Kubernetes probes
    timeout: float = 5.0

    def __post_init__(self) -> None:
        """Raise ValueError or TypeError for what cannot be a check."""
        if not _NAME.fullmatch(str(self.name)):
            raise ValueError(f"name: {self.name!r} is not made of lower case letters, digits, `-`, `_`, `.`")
        if not callable(self.probe):
            raise TypeError(f"probe: {self.probe!r} cannot be called")
        if is_async(self.probe):
            raise TypeError("probe: is `async def`; it is called in a thread of its own, where it may block")
        if self.group not in get_args(Group):
            raise ValueError(f"group: {self.group!r} is neither 'readiness' nor 'startup'")
        _in_range("interval", self.interval, LEAST_INTERVAL_S, 86400.0)
        _in_range("timeout", self.timeout, 0.01, LONGEST_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened. Names and facts are those of the log: docs/reference/events.md.

    at: RFC 3339, UTC.
    """

    name: str
    at: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for what is no event of the launcher's."""
        if not self.name.startswith("launcher."):
            raise ValueError(f"name: {self.name!r} does not begin with `launcher.`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A crash, or a start that failed: what a crash report says. Names, shapes and units are those of its file.

    They are described in docs/reference/crash-reports.md. What is not known is None or empty.

    at: RFC 3339, UTC. title: one sentence. verdict: None when no process died. slot, number, generation: of the worker.
    age_s: how long it had lived. wait_status: `{"code": int}`, `{"signal": "SIGSEGV"}` or `{}`. exit_code: of the
    launcher, where it ends. in_flight: `{"method": str, "path": str, "age_s": float}` each, and `more_in_flight` of
    which there is no more than their number. merged: deaths like this one that have no report of their own.
    """

    id: str
    at: str
    kind: Kind
    title: str = ""
    verdict: Verdict | None = None
    confidence: Confidence = "guess"
    evidence: tuple[str, ...] = ()
    pid: int | None = None
    slot: int | None = None
    generation: int | None = None
    number: int | None = None
    stage: str = ""
    age_s: float = 0.0
    wait_status: Mapping[str, int | str] = field(default_factory=dict)
    exit_code: int | None = None
    in_flight: tuple[Mapping[str, Any], ...] = ()
    more_in_flight: int = 0
    memory: Mapping[str, Any] = field(default_factory=dict)
    stacks: str = ""
    last_log: tuple[str, ...] = ()
    restarts_in_window: int = 0
    merged: int = 0
    app: str = ""
    release: str = ""
    host: str = ""
    launcher_pid: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for what no report of schema 1 says."""
        if self.schema != 1:
            raise ValueError(f"schema: {self.schema!r} is not 1")
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(get_args(Kind))}")
        if self.verdict is not None and self.verdict not in get_args(Verdict):
            raise ValueError(f"verdict: {self.verdict!r} is none of {', '.join(get_args(Verdict))}")
        if self.confidence not in get_args(Confidence):
            raise ValueError(f"confidence: {self.confidence!r} is none of {', '.join(get_args(Confidence))}")
        if not self.id or not self.at:
            raise ValueError("id, at: empty")

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> Incident:
        """Return what a report (its JSON) says; keys that are not known here are left out. Raises ValueError."""
        known = {one.name for one in fields(cls)}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in report.items() if name in known
        }
        try:
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"no incident: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSettings:
    """What a plugin is told about the launcher it runs in.

    app: `module:attribute`. cwd: the working directory. listen: addresses of the pool, `host:port` or `unix:PATH`.
    """

    app: str
    cwd: Path
    listen: tuple[str, ...] = ()


def is_async(function: object) -> bool:
    """Tell whether calling this gives something to be awaited, as far as that can be seen without calling it."""
    of_object = getattr(type(function), "__call__", None)  # noqa: B004 - what it is, not whether it is there
    calls = (function, getattr(function, "func", None), of_object)  # `func`: functools.partial
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in calls)


def _in_range(name: str, value: object, least: float, most: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name}: {value!r} is not from {least:g} to {most:g} seconds")
