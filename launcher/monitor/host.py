"""Who keeps the plugin host running, and tells it what happens?

It is a child of the monitor, ended when it is silent or says that too much hangs in it, started again after a growing
pause, and without a plugin that has taken it down twice while it was loaded.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.channel import Channel, pair
from launcher.crossing import PLAN_FD, write_plan
from launcher.monitor.findings import Findings
from launcher.monitor.health import Line
from launcher.monitor.view import View

BEAT_S, SILENT_S = 5.0, 15.0  # it says that often that it turns; ended after that long without a word
LOAD_S = 60.0  # of one plugin: the import of an application takes its time
_FIRST_S, _LONGEST_S, _HEALTHY_S = 1.0, 60.0, 60.0
_CHANCES = 2
_MOST_INCIDENTS = 100


class Host:
    """The monitor's side of it.

    findings: what its checks have found. failures: plugin -> how many of its calls failed.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        view: View,
        watch: Callable[[Channel, Callable[[], None]], None],
        forget: Callable[[Channel], None],
    ) -> None:
        """Take what to load from `plan` (`hooks`, `health_http`), and what was decided later from `view`."""
        self._given, self._view, self._watch, self._forget = plan, view, watch, forget
        self._clock, self._silence_s = view.clock, view.silence_s
        self.findings = Findings(plan, view.silence_s)
        self.failures: dict[str, int] = {}
        self.pid: int | None = None
        self.starts = 0
        self._channel: Channel | None = None
        self._loaded = self._idle = False
        self._doing = self._because = ""
        self._deaths: Counter[str] = Counter()
        self._set_aside: dict[str, str] = {}
        self._incidents: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
        self._heard = self._began = self._due = 0.0
        self._pause_s = _FIRST_S

    @property
    def _plan(self) -> Mapping[str, Any]:
        return {**self._given, **self._view.facts}

    def lines(self, group: str) -> Sequence[Line]:
        """Return the checks of a group ("readiness", "startup"); see `health.Others`."""
        return self.findings.lines(group)

    def facts(self) -> dict[str, Any]:
        """Return what `status` shows."""
        return {
            "pid": self.pid,
            "starts": self.starts,
            **self.findings.facts(),
            "failures": dict(self.failures),
            "incidents_waiting": len(self._incidents),
        }

    # What the plugins are told.

    def overhear(self, message: Mapping[str, Any]) -> None:
        """Hand on events and incidents of the pool's channel; nobody waits for a host that does not listen."""
        if isinstance(report := message.get("incident"), dict):
            self.report(report)
        elif str(message.get("event", "")).startswith("launcher.") and self._channel is not None:
            self._channel.send(message)

    def report(self, report: Mapping[str, Any]) -> None:
        """Have an incident (a crash report) told to every plugin that asks for it, until each has taken it."""
        if not self._listeners():
            return
        self._incidents[str(report.get("id", ""))] = (report, [])
        while len(self._incidents) > _MOST_INCIDENTS:
            del self._incidents[next(iter(self._incidents))]
        if self._loaded:  # otherwise all that wait are told when it is
            self._tell_incident(report, [])

    def _listeners(self) -> list[str]:
        hooks = self._plan.get("hooks", ())
        return [
            one["who"]
            for one in hooks
            if "launcher_incident" in one["hooks"] and one["who"] not in self.findings.broken
        ]

    def _tell_incident(self, report: Mapping[str, Any], taken_by: list[str]) -> None:
        if self._channel is not None:
            self._channel.send({"incident": report, "not": taken_by})

    # Its life.

    def look(self) -> None:
        """Start it, end it, take note of its end: what is due. Call it about once a second."""
        if self._idle:
            self._reap()
        elif self.pid is None:
            # Where modules of the application are, and where the pool listens, is decided after our own start.
            if self._clock() >= self._due and "listen" in self._plan:
                self._try_to_start()
        elif self._reap():
            self._ended()
        else:
            self._end_if_silent()

    def stop(self) -> None:
        """End it, with what it has started."""
        if self.pid is not None:
            for end in (os.killpg, os.kill):
                try:
                    end(self.pid, signal.SIGKILL)
                except OSError:  # gone; or no group yet
                    continue

    def _end_if_silent(self) -> None:
        patience_s = SILENT_S if self._loaded else LOAD_S
        if self._silence_s(self._heard) > patience_s:
            doing = f" while {self._doing} was loaded" if self._doing else ""
            self._because = f"silent for {patience_s:g} s{doing}"
            self.stop()
            self._heard = self._clock()

    def _hear(self) -> None:
        channel = self._channel
        if channel is None:
            return
        for message in channel.receive():
            self._heard = self._clock()
            self._take(message)
        if channel.gone:
            self._let_go()
            self.look()

    def _take(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"result": str(name), "ok": bool(ok), "detail": str(detail)}:
                self.findings.take(name, ok=ok, detail=detail, at=self._clock())
            case {"doing": str(who)}:
                self._doing = who
            case {"loaded": True, "checks": list(checks), "broken": list(broken)}:
                self._has_loaded(checks, broken)
            case {"idle": True}:
                self._idle = True
            case {"taken": str(number), "by": str(who)}:
                self._has_taken(number, who)
            case {"hung": list(names)}:
                self._because = f"hung: {', '.join(map(str, names))}"
                self.stop()
            case {"beat": True, "failures": dict(failures)}:
                self.failures.update(failures)
            case _:  # a plugin may write what it likes
                pass

    def _has_loaded(self, checks: Sequence[Mapping[str, Any]], broken: Sequence[Sequence[str]]) -> None:
        self._loaded, self._doing, self._because = True, "", ""
        self.findings.expect(checks, {**self._set_aside, **{str(who): str(because) for who, because in broken}})
        for report, taken_by in self._incidents.values():
            self._tell_incident(report, taken_by)

    def _has_taken(self, number: str, who: str) -> None:
        _, taken_by = self._incidents.get(number, ({}, []))
        taken_by.append(who)
        if set(taken_by) >= set(self._listeners()):
            self._incidents.pop(number, None)

    def _reap(self) -> bool:
        if self.pid is None:
            return False
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = self.pid, 0
        if pid:
            self._because = self._because or f"it ended with {os.waitstatus_to_exitcode(status)}"
            self.pid = None
            self._let_go()
        return bool(pid)

    def _ended(self) -> None:
        """Blame who was being loaded; put off the next start."""
        who, self._doing = self._doing, ""
        self._deaths[who] += 1
        if who and not self._loaded and self._deaths[who] >= _CHANCES:
            self._set_aside[who] = self.findings.broken[who] = f"it takes the plugin host down: {self._because}"
        if self._clock() - self._began >= _HEALTHY_S:
            self._pause_s = _FIRST_S
        self._put_off()

    def _put_off(self) -> None:
        self._due = self._clock() + self._pause_s
        _say(self._plan, because=self._because, again_in_s=round(self._pause_s, 1), set_aside=sorted(self._set_aside))
        self._pause_s = min(self._pause_s * 2, _LONGEST_S)
        self.findings.because = self._because

    def _let_go(self) -> None:
        if self._channel is not None:
            self._forget(self._channel)
            self._channel.close()
            self._channel = None

    def _try_to_start(self) -> None:
        try:
            self._start()
        except OSError as error:
            self._because = str(error)
            self._put_off()

    def _start(self) -> None:
        ours, its = pair()
        self._channel = Channel(ours)
        try:
            self.pid = _spawn({**self._plan, **self._to_load(), "parent": os.getpid(), "channel": its}, its)
        except OSError:
            self._channel.close()
            self._channel = None
            raise
        finally:
            os.close(its)
        self._watch(self._channel, self._hear)
        self.starts += 1
        self._loaded, self._because = False, ""
        self._began = self._heard = self._clock()

    def _to_load(self) -> dict[str, Any]:
        return {"hooks": [one for one in self._plan.get("hooks", ()) if one["who"] not in self._set_aside]}


def _spawn(plan: Mapping[str, Any], channel: int) -> int:
    """Start it in a session of its own, with its end of the channel; return its pid."""
    crossing = write_plan(plan)
    try:
        return os.posix_spawn(
            sys.executable,
            (sys.executable, "-P", "-m", "launcher.plugin_host"),
            {**os.environ, PLAN_FD: str(crossing)},
            # dup2 onto itself clears close-on-exec in the child, and only there.
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (channel, crossing)],
            setsid=True,
        )
    finally:
        os.close(crossing)


def _say(plan: Mapping[str, Any], **facts: object) -> None:
    # Here, since the way to it costs memory that is not needed while all is well.
    from launcher.log import configure_child, log

    if not log.configured:
        configure_child(plan)
    log.warning("launcher.plugin_host_failed", **facts)
