"""How does the plugin host live?

The main thread listens to the monitor, says what it does, and never calls a plugin without saying so before: whoever
takes the process down with it is known. Checks and hooks run in threads. What is said, and by whom:

host -> monitor: `{"doing": plugin}`, `{"loaded": true, "checks": [...], "broken": [...], "listening": [...]}`,
`{"idle": true}`, `{"result": check, "ok": bool, "detail": str}`, `{"telling": [plugins]}`,
`{"taken": id, "by": plugin}`, `{"unfit": id}`, `{"hung": [...]}`, `{"beat": true, ...}`.
monitor -> host: `{"event": name, ...facts}`, `{"incident": report, "not": [plugins that have it]}`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from launcher.channel import Channel
from launcher.hook_calls import CONTAINED, Hooks, Implementation
from launcher.hook_plugins import HookPlugin
from launcher.kernel import die_with_parent
from launcher.log import configure_child, log, timestamp
from launcher.plugin_host import through_pool
from launcher.plugin_host.checks import LONGEST_DETAIL, Checks, Found
from launcher.plugin_host.culprits import Culprits
from launcher.plugin_host.deliveries import Deliveries, Delivery
from launcher.records import RESERVED, Event, HealthCheck, Incident, PluginSettings
from launcher.redact import redact

BEAT_S = 5.0
MOST_HUNG, LONGEST_HUNG_S = 3, 60.0
_DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class PluginHost:
    """The process."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        """Take over what `launcher.monitor.host` has handed over."""
        self.plan = plan
        self._parent = int(plan["parent"])
        self._channel = Channel(plan["channel"])
        self._woken, self._bell = socket.socketpair()
        self._bell.setblocking(False)  # noqa: FBT003 - its only signature
        self.hooks, self.culprits = Hooks(), Culprits()
        self.checks = Checks(self._wake)
        self.deliveries = Deliveries(
            self.culprits, lambda names: self._say({"telling": names}), list(plan.get("suspects", ()))
        )
        self._well: dict[str, bool] = {}
        self._beat_at = 0.0

    def run(self) -> None:
        """Serve the monitor until it ends; return at once when no plugin has anything to do."""
        die_with_parent()
        for signum in _DEAF_TO:  # not SIG_IGN, which programs that a plugin starts would inherit
            signal.signal(signum, lambda *_: None)
        configure_child(self.plan)
        os.set_inheritable(self._channel.fileno(), False)  # noqa: FBT003 - os's signature
        self._load()
        if not self.checks.all and not self._listeners("launcher_event", "launcher_incident"):
            self._say({"idle": True})
            return
        while os.getppid() == self._parent and not self._channel.gone:
            self._turn()

    def _load(self) -> None:
        """Import the plugins and ask them for their checks, the monitor knowing which one it is."""
        folder = str(self.plan.get("import_dir") or self.plan.get("cwd") or Path.cwd())
        sys.path.insert(0, folder)
        if self.plan.get("health_http"):
            self.checks.add(through_pool.own_check(self.plan))
        for plugin in map(HookPlugin.of_plan, self.plan.get("hooks", ())):
            self._say({"doing": plugin.who})
            self.hooks.load(plugin.who, plugin.target)
        # Before the application is known, nobody can say what else has to be well.
        for implementation in () if self.plan.get("early") else self._listeners("launcher_health_checks"):
            self._say({"doing": implementation.who})
            self._ask_for_checks(implementation)
        broken = [(who, redact(because)[:LONGEST_DETAIL]) for who, because in self.hooks.refused]
        for who, because in broken:
            log.warning("launcher.plugin_refused", plugin=who, because=because)
        checks, listening = list(map(_shape, self.checks.all.values())), self._listeners("launcher_incident")
        said = {"checks": checks, "broken": broken, "listening": [one.who for one in listening]}
        self._say({"loaded": True, **said})

    def _ask_for_checks(self, implementation: Implementation) -> None:
        plan = self.plan
        settings = PluginSettings(
            app=str(plan.get("app", "")), cwd=Path(plan.get("cwd") or Path.cwd()), listen=tuple(plan.get("listen", ()))
        )
        try:
            returned = implementation(settings=settings)
            for check in (returned,) if isinstance(returned, HealthCheck) else tuple(returned or ()):
                self._add(check)
        except CONTAINED as error:
            self.hooks.refused.append((implementation.who, f"{implementation.hook}: {type(error).__name__}: {error}"))

    def _add(self, check: HealthCheck) -> None:
        if not isinstance(check, HealthCheck):
            raise TypeError(f"{check!r} is no launcher.HealthCheck")
        if check.name in RESERVED:
            raise ValueError(f"the name {check.name!r} is the launcher's own")
        self.checks.add(check)

    def _turn(self) -> None:
        self.checks.start_due()
        for found in self.checks.collect():
            self._tell(found)
        self.deliveries.look()
        self._complain()
        self._beat()
        now_s = time.monotonic()
        pause_s = min(self.checks.pause_s(), self._beat_at - now_s, BEAT_S if self.deliveries.idle else 1.0)
        channel, woken = self._channel.fileno(), self._woken.fileno()
        ready, _, _ = select.select([channel, woken], [], [], max(0.0, pause_s))
        if woken in ready:
            self._woken.recv(1024)
        if channel in ready:
            for message in self._channel.receive():
                self._hear(message)

    def _hear(self, message: Mapping[str, Any]) -> None:
        """Hand on what the monitor tells. A message that is none of ours is said and dropped."""
        report = message.get("incident")
        try:
            if report is not None:
                self._deliver_incident(report, message.get("not", ()))
            elif "event" in message:
                self._deliver_event(message)
        except (ValueError, TypeError, AttributeError):
            log.error("launcher.plugin_host_fault", exception=traceback.format_exc())
            if isinstance(report, dict):
                self._say({"unfit": str(report.get("id", ""))})

    def _deliver_event(self, message: Mapping[str, Any]) -> None:
        name = message["event"]
        if name == "launcher.worker_ready" and not self._well.get(through_pool.NAME):
            self.checks.hurry(through_pool.NAME)  # readiness is not to wait for its next turn
        facts = {key: value for key, value in message.items() if key != "event"}
        event = Event(name, timestamp(time.time()), facts)
        self.deliveries.put([Delivery(call, {"event": event}) for call in self._listeners("launcher_event")])

    def _deliver_incident(self, report: Mapping[str, Any], taken_by: list[str]) -> None:
        incident = Incident.from_report(report)
        self.deliveries.put(
            [
                Delivery(call, {"report": incident}, partial(self._say, {"taken": incident.id, "by": call.who}))
                for call in self._listeners("launcher_incident")
                if call.who not in taken_by
            ]
        )

    def _listeners(self, *hooks: str) -> list[Implementation]:
        return [implementation for hook in hooks for implementation in self.hooks.implementations(hook)]

    def _tell(self, found: Found) -> None:
        """Report a result, and say it when it is another one than before."""
        was, self._well[found.name] = self._well.get(found.name, True), found.ok
        if was and not found.ok:
            log.warning("launcher.health_check_failed", check=found.name, because=found.detail)
        elif found.ok and not was:
            log.info("launcher.health_check_passed", check=found.name)
        self._say({"result": found.name, "ok": found.ok, "detail": found.detail})

    def _complain(self) -> None:
        """Ask to be ended when too many threads, or one for too long, do not come back."""
        hung = {**self.checks.hung(), **self.deliveries.hung()}
        if len(hung) >= MOST_HUNG or any(over_s >= LONGEST_HUNG_S for over_s in hung.values()):
            self._say({"hung": sorted(hung)})

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self._say({"beat": True, "failures": dict(self.culprits.failures), "lost_events": self.deliveries.lost})

    def _say(self, message: Mapping[str, Any]) -> None:
        self._channel.send(message)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake
            self._bell.send(b"!")


def _shape(check: HealthCheck) -> dict[str, Any]:
    return {"name": check.name, "group": check.group, "interval_s": check.interval, "timeout_s": check.timeout}
