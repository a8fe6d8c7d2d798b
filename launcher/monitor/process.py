"""How does the monitor live?

In one thread and one loop: whoever is heard or served returns at once. It is deaf to the signals of the group, which
are for the server, and ends with its parent and never before, having heard what that has said last. A fault of ours is
said, and the next turn comes.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from launcher.channel import Channel
from launcher.kernel import die_with_parent, trim_memory
from launcher.monitor.control import Control
from launcher.monitor.crashes import Crashes
from launcher.monitor.disk import Disk
from launcher.monitor.health import Health
from launcher.monitor.last_words import LastWords
from launcher.monitor.limits import LimitsWatch, readers
from launcher.monitor.memory import MemoryWatch
from launcher.monitor.metrics import measured, metrics
from launcher.monitor.notes import Notes
from launcher.monitor.processes import Processes
from launcher.monitor.rendering import Rendering
from launcher.monitor.routes import Routes
from launcher.monitor.samples import Samples, usage_of_group
from launcher.monitor.status import Status
from launcher.monitor.view import View
from launcher.monitor.web import Web
from launcher.scoreboard import Board

if TYPE_CHECKING:
    from launcher.log import Log

TICK_S = 1.0
_CROWD = 50  # connections; probes are one or two at a time
_FAULTS = 20  # that are said: the log of a fault in each turn would be the next fault
_LAST_S = 2  # for what is done after the parent's end
_WRITE_S = 1.5  # of it, for the folder of crash reports
# Not SIG_IGN: what we start would inherit that.
_DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Monitor:
    """The process.

    view, health, status, routes, control, web, crashes, last_words: its parts.
    ticks: called about once a second. ears: called with each event that comes over the channel.
    """

    def __init__(self, plan: Mapping[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        """Take over the descriptors that `plan` names. Raises KeyError, ValueError or OSError for what is no plan."""
        self.plan, self._clock = plan, clock
        for fd in (plan["board"], plan["channel"], plan.get("unix"), *plan.get("tcp", ())):
            if fd is not None:
                os.set_inheritable(fd, False)  # noqa: FBT003 - os's signature; they were for us
        self._parent = int(plan["parent"])
        self._selector = selectors.DefaultSelector()
        self._channel = Channel(plan["channel"])
        self._faults = 0
        self.view = View(Board.open(plan["board"]), clock)
        self.health = Health(self.view, str(plan.get("ready_workers", "1")))
        self.control = Control(self._channel, clock)
        self.processes = Processes(clock=clock)
        self.status = Status(plan, self.view, self.processes)
        self.routes = Routes(
            self.health,
            self.control,
            self.status.facts,
            self._end_boot,
            details=bool(plan.get("details")),
            metrics=bool(plan.get("metrics")),
        )
        self.web = Web(self._selector, self.routes, clock=clock)
        samples = Samples(self.view.board, self.processes, usage_of_group(), clock)
        self.disk = Disk(self.watch, self.forget, clock)
        self.crashes = self.routes.crashes = Crashes(plan, self.view, samples, self._channel.send, self.disk.do)
        self.last_words = LastWords(plan, self.view, self.crashes, samples, self.disk.do)
        self.ears: list[Callable[[Mapping[str, Any]], None]] = [self.view.hear, self.control.hear]
        self.ears += [self.crashes.hear, self.last_words.hear]
        self.ticks: list[Callable[[], object]] = [self.control.look, lambda: self.health.started]
        self.ticks += [samples.look, self.disk.look, self.crashes.look, self.last_words.look]
        notes = Notes(self.view)
        self._offer_metrics(notes, by_status=bool(plan.get("metrics_by_status")))
        if plan.get("hooks") or plan.get("health_http"):
            self._ask_plugins(plan)
        self._watch_memory(plan, notes)

    def run(self) -> None:
        """Serve until the parent has ended."""
        signal.signal(signal.SIGALRM, _end_soon)
        die_with_parent(signal.SIGALRM)
        for signum in _DEAF_TO:
            signal.signal(signum, lambda *_: None)
        self._wake_for_signals()
        self.watch(self._channel, self._hear)
        self._guarded(self._hear)  # before anybody is answered: what the start is at was said when we were started
        self._listen()
        self._guarded(self.last_words.begin)
        gc.collect()
        gc.freeze()  # for a child that is forked to render metrics: what is never looked at is never copied
        due = self._clock()
        while os.getppid() == self._parent:
            now = self._clock()
            if now >= due:
                due = now + TICK_S
                self._tick()
            self._turn(0.0 if self.web.hurried else max(0.0, due - self._clock()))
        if not self._channel.gone:
            self._guarded(self._hear)
        self._guarded(self.crashes.flush)
        self._guarded(partial(self.disk.finish, _WRITE_S))

    def _wake_for_signals(self) -> None:
        """Have a signal end the sleep of the loop, which sees then that the parent is gone; Python would sleep on."""
        woken, bell = os.pipe()
        os.set_blocking(bell, False)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)

        def drain() -> None:
            os.read(woken, 512)

        self.watch(woken, drain)

    def watch(self, file: int | Channel, callback: Callable[[], None]) -> None:
        """Call back whenever a descriptor can be read."""
        self._selector.register(file, selectors.EVENT_READ, callback)

    def forget(self, file: int | Channel) -> None:
        """Call back no more; to be called before the descriptor is closed."""
        self._selector.unregister(file)

    def _offer_metrics(self, notes: Notes, *, by_status: bool) -> None:
        rendering = Rendering(
            self.watch,
            self.forget,
            lambda: metrics(measured(self.status.facts(), self.view, notes.monitors, by_status=by_status)),
            self._clock,
        )
        self.routes.metrics = rendering
        self.ears.append(notes.keep)
        self.ticks.append(rendering.look)

    def _ask_plugins(self, plan: Mapping[str, Any]) -> None:
        from launcher.monitor.host import Host  # a monitor without plugins does not pay for it

        host = Host(plan, self.view, self.watch, self.forget, self.crashes)
        self.crashes.told_by(host.report, str(plan.get("cwd", "")))
        self.health.others = host.lines
        self.ears.append(host.overhear)
        self.ticks.append(host.look)
        self.status.others["plugins"] = host.facts

    def _watch_memory(self, plan: Mapping[str, Any], notes: Notes) -> None:
        warn = partial(_warn, plan)
        limits = LimitsWatch(plan, self.view, warn, readers(self._parent), self._clock)
        limits.changed = notes.keep
        memory = MemoryWatch(plan, self.view, self.processes, self.control, limits, warn)
        self.status.limits, self.status.memory = limits.memory, memory.facts
        self.status.others["cpus"] = limits.cpus
        self.ticks += [limits.look, memory.look]

    def _listen(self) -> None:
        if (fd := self.plan.get("unix")) is not None:
            self.web.listen(socket.socket(fileno=fd), local=True, admits=_is_our_user)
        for fd in self.plan.get("tcp", ()):
            self.web.listen(socket.socket(fileno=fd), local=False)

    def _turn(self, timeout_s: float) -> None:
        ready = self._selector.select(timeout_s)
        self.view.look()
        self._guarded(self.web.catch_up)
        for key, _ in ready:
            self._guarded(key.data)

    def _tick(self) -> None:
        for tick in (self.web.look, *self.ticks, self._tidy):
            self._guarded(tick)

    def _tidy(self) -> None:
        """Give back the memory that a crowd has taken, when it has gone."""
        if self.web.crowd > _CROWD >= len(self.web):
            self.web.crowd = 0
            gc.collect()
            trim_memory()

    def _hear(self) -> None:
        for message in self._channel.receive():
            for hear in self.ears:
                self._guarded(partial(hear, message))
        if self._channel.gone:  # it could be read for ever
            self.forget(self._channel)
            self.control.look()

    def _end_boot(self) -> None:
        """Stop the launcher while it boots and so hears nothing but signals."""
        if os.getppid() == self._parent:
            os.kill(self._parent, signal.SIGTERM)

    def _guarded(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - a fault of ours does not end what tells how the pool is
            self._faults += 1
            if self._faults <= _FAULTS:
                self._say_fault()

    def _say_fault(self) -> None:
        import traceback  # here, since the way to it costs memory that a monitor without faults does not need

        log = _log(self.plan)
        log.error("launcher.monitor_fault", exception=traceback.format_exc())


def _warn(plan: Mapping[str, Any], event: str, **facts: object) -> None:
    _log(plan).warning(event, **facts)


def _log(plan: Mapping[str, Any]) -> Log:
    from launcher.log import configure_child, log  # as above

    if not log.configured:
        configure_child(plan)
    return log


def _end_soon(*_: object) -> None:
    """End by the next of these signals: our parent has ended, and we may not hang on what is left to do."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_LAST_S)


def _is_our_user(client: socket.socket) -> bool:
    """Tell whether our user or root has connected to an abstract socket; a file has a mode that sees to it."""
    if sys.platform != "linux" or client.getsockname()[:1] != b"\0":
        return True
    _pid, uid, _gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in {0, os.geteuid()}
