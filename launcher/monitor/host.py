"""Who keeps the plugin host running, and tells it what happens?

It is a child of the monitor, ended when it is silent or says that too much hangs in it, started again after a growing
pause, and without a plugin that has taken it down twice while it was loaded or told something. It is started once the
application is known; for an incident before that, with nothing but those who are told of it.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.channel import Channel, pair
from launcher.monitor.findings import Findings
from launcher.monitor.health import Line
from launcher.monitor.host_process import spawn_host
from launcher.monitor.telling import Book, Telling
from launcher.monitor.view import View

BEAT_S, SILENT_S = 5.0, 15.0  # it says that often that it turns; ended after that long without a word
LOAD_S = 60.0  # of one plugin: the import of an application takes its time
_FIRST_S, _LONGEST_S, _HEALTHY_S = 1.0, 60.0, 60.0
_CHANCES = 2
_LINGERS_S = 5.0  # so long one that was started early may go on telling, before the checks are to be asked
_LISTENS = "launcher_incident"
_BY_ITSELF = "it ended with"


class Host:
    """The monitor's side of it.

    findings: what its checks have found. failures: plugin -> how many of its calls failed. telling: of incidents.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        view: View,
        watch: Callable[[Channel, Callable[[], None]], None],
        forget: Callable[[Channel], None],
        book: Book,
    ) -> None:
        """Take what to load from `plan` (`hooks`, `health_http`), what was decided later from `view`.

        `watch`, `forget`: call back when a channel can be read, and no more. `book`: has the incidents.
        """
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
        self.telling = Telling(book)
        self._listening: list[str] | None = None  # who has the hook, once the host has said so
        self._told_now: list[str] = []  # who is being told of an incident at this moment
        self._early = self._renewed = False
        self._heard = self._began = self._due = self._known = 0.0
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
            "incidents_waiting": len(self.telling),
            "incidents_lost": self.telling.lost,
        }

    # What the plugins are told.

    def overhear(self, message: Mapping[str, Any]) -> None:
        """Hand on events of the pool's channel; nobody waits for a host that does not listen."""
        if str(message.get("event", "")).startswith("launcher.") and self._channel is not None:
            self._channel.send(message)

    def report(self, number: str, taken_by: Sequence[str] = ()) -> None:
        """Have an incident (its id) told to every plugin that asks for it, until each has taken it."""
        self.telling.add(number, taken_by)
        self._go_on_telling()
        if self.telling:
            self.look()  # it may be the last word of a start that has failed: the host is not to begin a second later

    def _listeners(self) -> list[str]:
        if self._listening is not None:
            return self._listening
        hooks = self._plan.get("hooks", ())
        return [one["who"] for one in hooks if _LISTENS in one["hooks"] and one["who"] not in self._set_aside]

    def _go_on_telling(self) -> None:
        self.telling.settle(self._listeners())
        if self._loaded and self._channel is not None:
            self.telling.tell(self._channel.send)

    # Its life.

    def look(self) -> None:
        """Start it, end it, take note of its end: what is due. Call it about once a second."""
        # Where modules of the application are, and where the pool listens, is decided after our own start.
        is_known = "listen" in self._plan
        if self.pid is not None and self._reap():
            self._ended()
        elif self._idle and not (self._early and is_known):
            return
        elif self.pid is None:
            if self._clock() >= self._due and (is_known or self.telling):
                self._try_to_start(early=not is_known)
        elif self._early and is_known:
            self._renew()
        else:
            self._end_if_silent()
        self._go_on_telling()

    def _renew(self) -> None:
        """End one that was started early, so that the next is asked for checks; it may finish what it tells."""
        self._known = self._known or self._clock()
        if not (self.telling and self._clock() - self._known < _LINGERS_S):
            self._renewed = True
            self.stop()

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
                self._has_loaded(checks, broken, message.get("listening"))
            case {"idle": True}:
                self._idle = True
            case {"hung": list(names)}:
                self._because = f"hung: {', '.join(map(str, names))}"
                self.stop()
            case {"beat": True, "failures": dict(failures)}:
                self.failures.update(failures)
            case _:
                self._take_telling(message)

    def _take_telling(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"telling": list(names)}:
                self._told_now = list(map(str, names))
            case {"taken": str(number), "by": str(who)}:
                self.telling.taken(number, who, self._listeners())
                self._go_on_telling()
            case {"unfit": str(number)}:
                self.telling.unfit(number)
            case _:  # a plugin may write what it likes
                pass

    def _has_loaded(self, checks: Sequence[Any], broken: Sequence[Sequence[str]], listening: object) -> None:
        self._loaded, self._doing, self._because = True, "", ""
        if not self._early:  # else nobody was asked for checks
            unused = {str(who): str(because) for who, because in broken}
            self.findings.expect(checks, {**self._set_aside, **unused})
        if isinstance(listening, list):
            self._listening = list(map(str, listening))
        self._go_on_telling()

    def _reap(self) -> bool:
        if self.pid is None:
            return False
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = self.pid, 0
        if pid:
            self._because = self._because or f"{_BY_ITSELF} {os.waitstatus_to_exitcode(status)}"
            self.pid = None
            self._let_go()
        return bool(pid)

    def _ended(self) -> None:
        """Blame who was being loaded or told of an incident; put off the next start."""
        if self._idle or self._renewed:
            self._renewed, self._due = False, self._clock()
            return
        for who in self._blamed():
            self._deaths[who] += 1
            if self._deaths[who] >= _CHANCES:
                self._set_aside[who] = self.findings.broken[who] = f"it takes the plugin host down: {self._because}"
        self._doing, self._listening = "", None
        if self._clock() - self._began >= _HEALTHY_S:
            self._pause_s = _FIRST_S
        self._put_off()

    def _blamed(self) -> list[str]:
        """Return who has taken it down: not who hangs, nor who was there when somebody else killed it."""
        if not self._loaded:
            return [self._doing] if self._doing else []
        fell = self._because.startswith(_BY_ITSELF) and not self._because.endswith(" -9")
        return ([who for who in self._told_now if self._deaths[who]] or self._told_now) if fell else []

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

    def _try_to_start(self, *, early: bool) -> None:
        try:
            self._start(early=early)
        except OSError as error:
            self._because = str(error)
            self._put_off()

    def _start(self, *, early: bool) -> None:
        ours, its = pair()
        self._channel = Channel(ours)
        plan = {**self._plan, "hooks": self._to_load(early=early), "suspects": sorted(filter(None, self._deaths))}
        plan |= {"early": True, "health_http": None} if early else {}
        try:
            self.pid = spawn_host({**plan, "parent": os.getpid(), "channel": its}, its)
        except OSError:
            self._channel.close()
            self._channel = None
            raise
        finally:
            os.close(its)
        self._watch(self._channel, self._hear)
        self.starts += 1
        self.telling.anew()
        self._loaded, self._because, self._told_now, self._idle, self._early = False, "", [], False, early
        self._began = self._heard = self._clock()

    def _to_load(self, *, early: bool) -> list[Any]:
        hooks = [one for one in self._plan.get("hooks", ()) if one["who"] not in self._set_aside]
        return [one for one in hooks if _LISTENS in one["hooks"]] if early else hooks


def _say(plan: Mapping[str, Any], **facts: object) -> None:
    # Here, since the way to it costs memory that is not needed while all is well.
    from launcher.log import configure_child, log

    if not log.configured:
        configure_child(plan)
    log.warning("launcher.plugin_host_failed", **facts)
