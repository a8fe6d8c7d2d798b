"""What came across the exec?"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.crossing import read_plan
from launcher.notify import Notifier
from launcher.serving.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """What the classes of `launcher.servers` put into a command's `handover`, read back; empty without one.

    listeners: address (as gunicorn spells it) -> descriptor.
    import_dir: the folder the application is imported from.
    defaults: gunicorn options, as words, that give way to the user's own configuration.
    access_log: False when the user said that there is to be none, wherever else one is configured.
    uvicorn: keyword arguments for the uvicorn in gunicorn's workers.
    rules: what was decided about the pool.
    log: how lines look: `console`, `level`, `access` and `error` (truth or a file), `access_exclude` (paths).
    monitor: the monitor's `plan` and `pid`, our end of the `channel` to it; empty: there is none.
    incidents: where reports are kept (`folder`, `because`), and of what (`app`, `release`); empty: they are logged.
    held_signals: those that were blocked for the exec, and wait for our handlers.
    notifier: what systemd handed over, in the environment.
    """

    listeners: Mapping[str, int] = field(default_factory=dict)
    import_dir: str = ""
    defaults: tuple[str, ...] = ()
    access_log: bool = True
    uvicorn: Mapping[str, Any] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    log: Mapping[str, Any] = field(default_factory=dict)
    monitor: Mapping[str, Any] = field(default_factory=dict)
    incidents: Mapping[str, Any] = field(default_factory=dict)
    held_signals: frozenset[int] = frozenset()
    notifier: Notifier = field(default_factory=lambda: Notifier({}))

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Crossed:
        """Return what was handed over; started by hand, without the launcher, nothing was."""
        plan: dict[str, Any] = read_plan(environ)
        return cls(
            listeners={listener["address"]: listener["fd"] for listener in plan.get("listeners", ())},
            import_dir=plan.get("import_dir", os.getcwd()),  # noqa: PTH109 - sys.path holds str
            defaults=tuple(plan.get("defaults", ())),
            access_log=plan.get("access_log", True),
            uvicorn=plan.get("uvicorn", {}),
            rules=Rules.from_plan(plan.get("pool", {})),
            log=plan.get("log", {}),
            held_signals=frozenset(plan.get("held_signals", ())),
            monitor=plan.get("monitor", {}),
            incidents=_incidents(plan),
        )

    def sockets(self) -> list[socket.socket]:
        """Return the listeners as sockets of their real family: asyncio sets TCP_NODELAY only on those it knows."""
        return [socket.socket(fileno=fd) for fd in self.listeners.values()]


def _incidents(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what reports need; the application may be named beside it, and the release be known to the monitor."""
    of_monitor = plan.get("monitor", {}).get("plan", {})
    found = dict(plan.get("incidents") or of_monitor.get("incidents") or {})
    for name, elsewhere in (("app", plan), ("release", of_monitor)):
        found[name] = found.get(name) or elsewhere.get(name) or of_monitor.get(name, "")
    return found


class SocketFiles:
    """The files of our Unix sockets, to be removed at the end by the process that made this, and only if still ours."""

    def __init__(self, addresses: Mapping[str, int]) -> None:
        """Remember which file is ours: a successor may have put its own in the same place by the time we end."""
        self._pid = os.getpid()
        paths = [Path(address.removeprefix("unix:")) for address in addresses if address.startswith("unix:")]
        self._files = {path: identity for path in paths if (identity := _identity(path))}

    def remove(self) -> None:
        """Remove them. In a forked worker nothing is done: it, too, leaves through its parent's `finally`."""
        if os.getpid() != self._pid:
            return
        for path, identity in self._files.items():
            if _identity(path) == identity:
                with contextlib.suppress(OSError):
                    path.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
