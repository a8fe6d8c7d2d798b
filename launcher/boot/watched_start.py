"""Who can see how the start goes?

The monitor is started before anything is decided, so that a probe is answered from the first moments on. What it needs
later (the application, the sum) is told when it is known; its descriptors cross the exec with the rest.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.boot.sockets import close_listeners, open_listeners
from launcher.boot.watch import Watch
from launcher.channel import Channel, pair
from launcher.hook_plugins import HookPlugin, of_host
from launcher.instances import bind, remove
from launcher.log import log
from launcher.monitoring import Keeper
from launcher.origin import DEFAULT, Origin, Sourced
from launcher.plan import Plan
from launcher.scoreboard import Board
from launcher.servers import Listener
from launcher.settings.topics import Settings

_RESOLVE_S = 30.0  # a name server that says nothing: libc's own patience is 5 s an attempt
_BACKLOG = 4096  # a crowd of clients may not keep a probe waiting
_TOLD = frozenset({"launcher.step_done", "launcher.lock_acquired"})  # of the log's events, those that are counted
Resolve = Callable[[str, int, int, int], Sequence[tuple[Any, ...]]]


class WatchedStart:
    """The monitor's side of a start: scoreboard, event channel, sockets for probes, and who keeps it running."""

    def __init__(
        self,
        settings: Settings,
        resolve: Resolve,
        hooks: Sequence[HookPlugin] = (),
        *,
        incidents: Mapping[str, str],
        probes: bool = True,
    ) -> None:
        """Bind and start it. Raises UsageError for an address or a folder that was asked for and cannot be had.

        incidents: as `Start.told_in` has it. probes: answer them over TCP, too.
        """
        monitor = settings.monitor
        self._tls = settings.http.ssl_certfile is not None
        self._asked = settings.pool.memory.value if settings.pool.memory else None
        self._may_overcommit = settings.pool.allow_overcommit
        self._probes = _health_listeners(settings, resolve) if probes else ()
        try:
            self._socket, self.address = bind(settings.environ, monitor.runtime_dir, os.getpid())
        except BaseException:
            close_listeners(self._probes)
            raise
        self.board = Board.create()
        ours, theirs = pair()
        self.channel = Channel(ours)
        self._facts: dict[str, Any] = {
            "board": self.board.fd,
            "channel": theirs,
            "unix": self._socket.fileno(),
            "tcp": [listener.fd for listener in self._probes],
            "socket": self.address,
            "runtime_dir": monitor.runtime_dir,
            "ready_workers": monitor.ready_workers,
            "details": monitor.health_details,
            "metrics": monitor.metrics,
            "worker_memory_limit_bytes": settings.pool.worker_memory_limit,
            "preload": settings.pool.preload,
            "health_http": monitor.health_http,
            "plugins": list(settings.plugins),
            "hooks": of_host(hooks),
            "metrics_by_status": monitor.metrics_by_status,
            "incidents": dict(incidents),
            "import_dir": str(settings.app.app_dir or settings.cwd),  # until the application is found
            "cwd": str(settings.cwd),
            "version": _version(),
            "started_at": time.time(),
            "console": log.console,
            "level": settings.log.level,
        }
        self.keeper = Keeper(self._facts, settings.environ)
        self._said: Mapping[str, Any] = {}
        log.listener = self._heard
        self.beat()

    def say(self) -> None:
        """Say where probes are answered."""
        bound = [listener.address for listener in self._probes]
        log.info("launcher.health_bound", address=bound, socket=self.address)

    def know(self, plan: Plan, listeners: Sequence[Listener], release: str = "") -> None:
        """Tell what has been decided; a monitor that is started again finds it in its plan."""
        budget = plan.budget
        self._facts |= {
            "app": plan.app.import_string if plan.app else "",
            "server": plan.server.value,
            "listen": [listener.address for listener in listeners],
            "import_dir": str(plan.app.import_dir) if plan.app else "",
            "tls": self._tls,
            "release": release,
            "memory": {
                "limit_bytes": budget.limit_bytes,
                "source": budget.limit_source,
                "budget_bytes": budget.budget_bytes,
                "asked": self._asked,
                "may_overcommit": self._may_overcommit,
            }
            if budget
            else {},
        }
        names = ("app", "server", "listen", "memory", "import_dir", "tls", "release")
        self.channel.send({"event": "plan", **{name: self._facts[name] for name in names}})

    def know_release(self, release: str) -> None:
        """Tell the release id, which a step may have found."""
        if release != self._facts["release"]:
            self._facts["release"] = release
            self.channel.send({"event": "plan", "release": release})

    @property
    def pid(self) -> int | None:
        """The monitor's."""
        return self.keeper.pid

    def ended(self, pid: int, status: int) -> bool:
        """Take note of a child that was reaped."""
        return self.keeper.ended(pid, status)

    def _heard(self, event: str, facts: Mapping[str, object]) -> None:
        if event in _TOLD:
            self.channel.send({"event": event, **facts})

    def beat(self) -> None:
        """Say that the loop of the start turns, and start the monitor when it is due."""
        self.board.heartbeat = time.monotonic()
        before = self.keeper.pid
        self.keeper.look()
        if self.keeper.pid is not None and self.keeper.pid != before and self._said:
            self.channel.send(self._said)

    def doing(self, step: str, waiting_for: str) -> None:
        """Tell what the start is at."""
        said = boot_event(step, waiting_for, self._said, time.monotonic())
        if said != self._said:
            self._said = said
            self.channel.send(said)

    def crossing(self) -> dict[str, object]:
        """Return what the server has to know to keep the monitor, for the handover."""
        return {"plan": self._facts, "pid": self.keeper.pid, "channel": self.channel.fileno()}

    def descriptors(self) -> list[int]:
        """Return what stays open across the exec."""
        return [*self.keeper.descriptors(), self.channel.fileno()]

    def end(self) -> None:
        """The start has failed: nobody is to answer any more."""
        self.keeper.stop()
        remove(self.address)
        close_listeners(self._probes)
        with contextlib.suppress(OSError):
            self._socket.close()


def resolver(watch: Watch) -> Resolve:
    """Return a look-up of names that a signal ends."""

    def resolve(host: str, port: int, family: int, kind: int) -> list[tuple[object, ...]]:
        return watch.off_thread(lambda: [*socket.getaddrinfo(host, port, family, kind)], timeout_s=_RESOLVE_S)

    return resolve


def _health_listeners(settings: Settings, resolve: Resolve) -> tuple[Listener, ...]:
    origin: Origin = settings.origins["health_bind"].origin if "health_bind" in settings.origins else DEFAULT
    addresses = [Sourced(address, origin) for address in settings.monitor.health_bind]
    if not addresses:
        return ()
    return open_listeners(addresses, listen=True, environ={}, backlog=_BACKLOG, resolve=resolve)


def _version() -> str:
    from launcher import __version__

    return __version__


def boot_event(step: str, waiting_for: str, before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return what the monitor is told. `since`, an instant as `now`, stays while nothing else is waited for.

    Another holder of the lock, another step of it, a shorter list of what is missing: that is the same wait.
    """
    goes_on = step == before.get("step") and _subject(waiting_for) == _subject(str(before.get("waiting_for", "")))
    return {"event": "boot", "step": step, "waiting_for": waiting_for, "since": before["since"] if goes_on else now}


def _subject(waiting_for: str) -> str:
    """Return what is waited for, without what is said of it: `the lock x` of `the lock x (held by y)`."""
    return waiting_for.partition(" (")[0].partition(": ")[0]
