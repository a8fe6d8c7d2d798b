"""What does Sentry get to see of a report?

Only what the report says (develop.sentry.dev/sdk/data-model/event-payloads): nothing is read of this process, its
environment or its arguments. Everything is masked once more, and paths lose their queries.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from launcher.redact import redact
from launcher_sentry.stacks import Stack, decisive, fatal, stacks

_LEVELS = {
    "boot-failed": "error",
    "crash": "error",
    "oom-kill": "warning",  # of a process that is no worker: everything serves
    "unclean-end": "error",
}
_ENDS_THE_LAUNCHER = "fatal"  # every other kind: it is why the launcher ends
_LONGEST_TAG = 200  # docs.sentry.io, "Customize Tags"
_TAGS = ("verdict", "confidence", "kind", "stage", "app")
_WORKER = ("pid", "slot", "generation", "number", "stage", "age_s", "wait_status", "restarts_in_window")
_INCIDENT = ("id", "verdict", "confidence", "evidence", "exit_code", "merged", "launcher_pid", "schema")
_EMPTY: tuple[Any, ...] = (None, "", (), [], {})


def event_of(facts: Mapping[str, Any], environ: Mapping[str, str], cwd: str) -> dict[str, Any]:
    """Return the event for a report.

    facts: the report's keys. environ: of it SENTRY_RELEASE only. cwd: the application's folder; files are told from it.
    """
    text = facts.get("stacks")
    found = stacks(text) if isinstance(text, str) else []
    main = decisive(found, waited=facts.get("verdict") in {"hang", "boot-hang"})
    lists = {
        "breadcrumbs": [_breadcrumb(line) for line in facts.get("last_log") or ()],
        "exception": _exceptions(facts, found, main, cwd),
        "threads": [_thread(one, main, cwd) for one in found if one.kind != "exception"],
    }
    event = {
        "event_id": uuid.uuid5(uuid.NAMESPACE_URL, f"asgi-launcher:incident:{facts['id']}").hex,
        "timestamp": facts["at"],
        "platform": "python",
        "logger": "launcher",
        "level": _LEVELS.get(facts["kind"], _ENDS_THE_LAUNCHER),
        "message": _title(facts),
        "release": environ.get("SENTRY_RELEASE") or facts.get("release"),
        "server_name": facts.get("host"),
        "tags": {name: str(facts[name])[:_LONGEST_TAG] for name in _TAGS if facts.get(name)},
        "fingerprint": _fingerprint(facts, main, cwd),
        "contexts": _contexts(facts),
        "modules": dict(facts.get("versions") or {}),
        **{name: {"values": values} for name, values in lists.items() if values},
    }
    masked: dict[str, Any] = _masked({key: value for key, value in event.items() if value not in _EMPTY})
    return masked


def _title(facts: Mapping[str, Any]) -> str:
    return str(facts.get("title") or f"{facts['kind']}: {facts.get('verdict') or 'no verdict'}")


def _fingerprint(facts: Mapping[str, Any], main: Stack | None, cwd: str) -> list[str]:
    """Return what like deaths have in common: no line, no pid, no path of this host."""
    words = [str(facts["kind"]), str(facts.get("verdict") or "")]
    if main is not None and (frame := main.innermost) is not None:
        return [*words, f"{frame.short(cwd)}:{frame.function}"]
    return words if words[1] else [*words, re.sub(r"\d+", "0", _title(facts))]


def _contexts(facts: Mapping[str, Any]) -> dict[str, Any]:
    requests = [{**one, "path": str(one.get("path", "")).partition("?")[0]} for one in facts.get("in_flight") or ()]
    contexts = {
        "incident": _some(facts, _INCIDENT),
        "worker": _some(facts, _WORKER) if facts.get("pid") else {},
        "in flight": {"requests": requests, "more": facts.get("more_in_flight") or 0} if requests else {},
        "memory": dict(facts.get("memory") or {}),
    }
    return {name: context for name, context in contexts.items() if context}


def _some(facts: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: facts[name] for name in names if facts.get(name) not in _EMPTY}


def _breadcrumb(line: Any) -> dict[str, str]:
    return {"category": "log", "message": str(line)}


def _exceptions(facts: Mapping[str, Any], found: list[Stack], main: Stack | None, cwd: str) -> list[dict[str, Any]]:
    """Return the exceptions that the worker wrote down, else its death as one, where its stack is known."""
    written = [one for one in found if one.kind == "exception"]
    values = [{"type": one.type or "Exception", "value": one.value, **_stacktrace(one, cwd)} for one in written]
    if not values and main is not None:
        verdict = str(facts.get("verdict") or facts["kind"])
        named = fatal(facts["stacks"]) if verdict == "native-crash" else ""
        values = [{"type": named or verdict, "value": _title(facts), "thread_id": main.name, **_stacktrace(main, cwd)}]
    if values:
        values[-1]["mechanism"] = {"type": "asgi-launcher", "handled": False}
    return values


def _thread(stack: Stack, main: Stack | None, cwd: str) -> dict[str, Any]:
    return {
        "id": stack.name,
        "name": stack.name,
        "crashed": stack is main,
        "current": stack.current,
        **_stacktrace(stack, cwd),
    }


def _stacktrace(stack: Stack, cwd: str) -> dict[str, Any]:
    """Return frames as Sentry has them: the innermost last."""
    frames = [
        {
            "filename": frame.short(cwd),
            "abs_path": frame.filename,
            "function": frame.function,
            "lineno": frame.lineno,
            "in_app": frame.in_app,
        }
        for frame in stack.frames
    ]
    return {"stacktrace": {"frames": frames}} if frames else {}


def _masked(value: Any) -> Any:
    """Return it as plain JSON values, every text masked."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): _masked(one) for key, one in value.items()}
    return [_masked(one) for one in value] if isinstance(value, list | tuple) else value
