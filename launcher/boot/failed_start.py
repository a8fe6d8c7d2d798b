"""How is a start that failed reported?

To the monitor, which hands it to the plugins: they get it before the process ends, and have five seconds for it. Where
nobody listens it is only kept.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.boot.start import Start
from launcher.boot.watch import Watch
from launcher.boot.watched_start import WatchedStart, resolver
from launcher.channel import Channel
from launcher.errors import (
    DependencyDown,
    ExitCode,
    Interrupted,
    LauncherError,
    LockLost,
    LockNotObtained,
    NoWorkerFits,
    StepFailed,
    UsageError,
)
from launcher.hook_plugins import HookPlugin, hook_plugins
from launcher.incidents.outbox import DELIVERED_WITHIN_S, Outbox
from launcher.incidents.report import new_report
from launcher.incidents.store import Store
from launcher.incidents.termination import MOST_BYTES, TerminationLog
from launcher.log import log
from launcher.masking import masked

_KINDS: tuple[tuple[type[LauncherError], str], ...] = (
    (StepFailed, "step-failed"),
    (LockLost, "lock-lost"),
    (LockNotObtained, "lock-unavailable"),
    (DependencyDown, "dependency-down"),
    (NoWorkerFits, "memory-refused"),
)
_MOST_LINES = 100  # of a list in a report
_LINES_OF_LAST_WORDS = 20
_TURN_S = 0.05


def report(start: Start, error: BaseException) -> None:
    """Say the error and report it, if it is an incident: not the user's own word, be it a setting or a signal."""
    if isinstance(error, UsageError | Interrupted) or not isinstance(error, Exception):
        return
    if isinstance(error, LauncherError):
        start.tell(error)  # before, since plugins may take their time
    found = _report_of(start, error)
    _write_last_words(start, error)
    with start.watch.installed():
        _say(found, *_kept(start, found))


def last_words(start: Start, error: BaseException) -> None:
    """Leave nothing of the monitor's, which has ended: neither its words nor its marker of a run that goes on."""
    _write_last_words(start, error)
    if start.seen is not None:
        _forget_run(start)


def _report_of(start: Start, error: Exception) -> dict[str, Any]:
    told_of: dict[str, Any] = {"exit_code": int(_code(error)), "app": start.app, "release": start.release}
    if not isinstance(error, LauncherError):
        title, stacks = f"a fault of the launcher: {_text(error)}", "".join(traceback.format_exception(error))
        return new_report("start-failed", title, evidence=["it was not foreseen"], stacks=stacks, **told_of)
    kind = next((kind for of, kind in _KINDS if isinstance(error, of)), "start-failed")
    lines = masked(error.detail).splitlines()[-_MOST_LINES:]  # all together: what is masked may have several lines
    return new_report(kind, error.message, evidence=_evidence(error), last_log=lines, **told_of)


def _evidence(error: LauncherError) -> list[str]:
    code = int(error.exit_code)
    evidence = [f"the launcher ended with exit code {code}, before there was a server"]
    return [*evidence, f"what may help: {error.cure}"] if error.cure else evidence


def _code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, LauncherError) else ExitCode.BUG


def _text(error: BaseException) -> str:
    return error.message if isinstance(error, LauncherError) else f"{type(error).__name__}: {error}"


def _kept(start: Start, found: dict[str, Any]) -> tuple[str, str]:
    """Have the report kept, and told to those who listen; return where it is, "" and why when that is nowhere."""
    folder = start.told_in["folder"]
    store = Store(Path(folder) if folder else None, because=start.told_in["because"])
    seen = _listening(start)
    outbox = Outbox(seen.channel if seen is not None else None, store)
    outbox.send(found)
    answer = _delivered(outbox, seen.channel, start.watch, found["id"]) if seen is not None else {}
    path = store.folder / f"{found['id']}.json" if store.folder is not None else None
    if path is not None and path.exists():
        return str(path), ""
    return "", str(answer.get("because") or store.because)


def _listening(start: Start) -> WatchedStart | None:
    """Return the way to the plugins if one listens: the start's own monitor, or one for this alone."""
    settings = start.settings
    plugins = hook_plugins(settings.plugins, settings.app.app_dir or settings.cwd)
    if settings.monitor.off or not any("launcher_incident" in plugin.hooks for plugin in plugins):
        return None
    if start.seen is None:
        with contextlib.suppress(LauncherError, OSError):  # nowhere to put its socket
            start.seen = _monitor_for_this(start, plugins)
    return start.seen


def _monitor_for_this(start: Start, plugins: list[HookPlugin]) -> WatchedStart:
    """Start a monitor that answers no probes: where only steps run, or the bare server would not keep one."""
    seen = WatchedStart(start.settings, resolver(start.watch), plugins, incidents=start.told_in, probes=False)
    start.watch.accompanied_by(seen)
    return seen


def _delivered(outbox: Outbox, channel: Channel, watch: Watch, number: str) -> Mapping[str, Any]:
    """Wait until the plugins have it, five seconds, or until we are told to stop; return where the monitor keeps it."""
    answer: Mapping[str, Any] = {}
    until = time.monotonic() + DELIVERED_WITHIN_S
    try:
        while outbox.pending and (now := time.monotonic()) < until:
            watch.wait([channel.fileno()], deadline=min(until, now + _TURN_S))
            for message in channel.receive():
                outbox.hear(message)
                answer = message if message.get("kept") == number else answer
            outbox.look()
    except Interrupted:
        pass
    finally:
        outbox.flush()
    return answer


def _say(found: Mapping[str, Any], path: str, because: str) -> None:
    facts = {name: found[name] for name in ("id", "kind", "title")}
    if path:
        log.info("launcher.incident_reported", **facts, path=path)
    else:
        log.warning("launcher.incident_reported", **facts, path="", because=because)


def _write_last_words(start: Start, error: BaseException) -> None:
    """Write into the platform's termination log why we end: first what a list of pods has room for."""
    if not (path := start.told_in["termination_log"]):
        return
    stopped = isinstance(error, Interrupted | KeyboardInterrupt)
    lines = [f"asgi-launcher: {'stopped' if stopped else f'gave up, exit code {int(_code(error))}'}: {_text(error)}"]
    if isinstance(error, LauncherError):
        lines += [f"try: {error.cure}"] if error.cure else []
        said = [f"| {line}" for line in masked(error.detail).splitlines()[-_LINES_OF_LAST_WORDS:]]
        while said and len("\n".join([*lines, *said]).encode(errors="replace")) >= MOST_BYTES:
            del said[0]  # what it said last tells most
        lines += said
    TerminationLog(Path(path)).write("\n".join(lines))


def _forget_run(start: Start) -> None:
    """Remove the marker of this run, which the monitor leaves for the next one: it did not end without a word.

    Taken over rather than asked for: a monitor that has just begun may leave it in the very moment when it is ended.
    """
    from launcher.incidents.last_run import LastRun

    if not start.told_in["folder"]:
        return
    store = Store(Path(start.told_in["folder"]))
    run = LastRun(store.folder)
    before = run.begin({"launcher_pid": os.getpid(), "cwd": str(start.settings.cwd)})
    run.end()
    if before is not None:  # the monitor has not come to it
        _say(before, str(store.keep(before) or ""), store.because)
