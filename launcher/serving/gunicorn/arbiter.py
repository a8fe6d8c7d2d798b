"""What does gunicorn's arbiter do for the pool?

It forks workers, collects the dead, reads its configuration and keeps its hooks; what happens when is the pool's to
decide. Its own loop is kept, and never waits in here. What we lean on: tests/contract/test_server_assumptions.py.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import contextlib
import os
import queue
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from launcher.errors import ExitCode
from launcher.scoreboard import Slot
from launcher.serving.crossed import Crossed
from launcher.serving.evidence import Evidence
from launcher.serving.gunicorn.configuration import Configuration
from launcher.serving.gunicorn.forked import Child, ended_by_itself
from launcher.serving.gunicorn.templates import Templates
from launcher.serving.gunicorn.worker_class import as_ours
from launcher.serving.pool.loop import Loop, make_loop
from launcher.serving.pool.members import Intent, Members
from launcher.serving.pool.signals import PoolSignals


class LauncherArbiter(PoolSignals, Arbiter):
    """gunicorn's arbiter, with the launcher's pool."""

    log: Any  # gunicorn.glogging.Logger, or the class that was configured
    cfg: Any  # gunicorn.config.Config, which answers to the name of any setting
    loop: Loop
    timeout: int
    worker_age: int
    worker_class: Any
    _num_workers: int | None
    _stats: dict[str, Any]

    def __init__(self, app: Any, crossed: Crossed) -> None:
        """Read the configuration."""
        self.crossed = crossed
        self.child: Child | None = None
        self._closed_in = 0
        self._refused: set[int] = set()  # workers that we may not send a signal
        self.configuration = Configuration(self)
        super().__init__(app)

    # gunicorn's loop.

    def setup(self, app: Any) -> None:
        """Take the application's configuration."""
        preload = app.cfg.preload_app
        app.cfg.set("preload_app", False)  # noqa: FBT003 - gunicorn's signature; its own way would import here
        super().setup(app)
        self.worker_class = as_ours(self.worker_class)
        app.cfg.set("preload_app", preload)
        self.configuration.prepare()

    @property
    def num_workers(self) -> int | None:
        """The number of workers, for gunicorn and its hooks."""
        return self._num_workers

    @num_workers.setter
    def num_workers(self, wanted: int) -> None:
        before, self._num_workers = self._num_workers, wanted
        self._hook("nworkers_changed", wanted, before)

    def start(self) -> None:
        """Start to listen. The files of our sockets are ours to remove: gunicorn would remove systemd's too."""
        super().start()
        self.systemd = True
        self.loop = make_loop(self.crossed, self.configuration.rules(), self, self.configuration.certificates())
        self.lifeline, self._lifeline_end = os.pipe()
        self.templates = Templates(self)

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:  # noqa: ARG002 - gunicorn's signature; the pool knows
        """Sleep until something happens; return the signals that came."""
        self.loop.wait()
        signals = []
        with contextlib.suppress(queue.Empty):
            while True:
                signals.append(self.SIG_QUEUE.get_nowait())
        return [number for number in signals if number != self.WAKEUP_REQUEST]

    def murder_workers(self) -> None:
        """Leave it to the pool: it knows more clocks than one."""

    def manage_workers(self) -> None:
        """Take a turn."""
        self.reap_workers()
        self.loop.turn()
        outcome = self.loop.pool.outcome
        if outcome is ExitCode.OK:
            raise StopIteration
        if outcome is not None:
            raise HaltServer("see above", int(outcome))

    def reap_workers(self) -> None:
        """Collect every child that ended: as PID 1 those of others too."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        if pid == self.dirty_arbiter_pid:
            self.handle_dirty_arbiter_exit(pid, status)
            return
        self.templates.ended(pid, status)
        self._refused.discard(pid)
        worker = self.WORKERS.pop(pid, None)
        member = self.loop.pool.members.find(pid)
        if worker is not None and member is not None and ended_by_itself(worker, member.slot, status):
            member.intent = member.intent or Intent.RECYCLE
        self.loop.died(pid, status)
        if worker is not None:
            worker.tmp.close()
            self._hook("child_exit", worker)

    def _hook(self, name: str, *arguments: object) -> None:
        """Call a hook of the user's: one that raises, or calls sys.exit, is no reason to end the server."""
        try:
            getattr(self.cfg, name)(self, *arguments)
        except (Exception, SystemExit):
            self.log.exception("%s hook failed", name)

    # Signals.

    def handle_usr2(self) -> None:
        """Refuse: the new arbiter would not go through the pre-start steps."""
        self.log.warning("USR2 refused: it would start new code without its pre-start steps; start another launcher")

    def halt(self, reason: str | None = None, exit_status: int = 0) -> NoReturn:
        """End."""
        self.templates.end()
        self.loop.monitor.end()
        super().halt(reason, exit_status)
        raise AssertionError("gunicorn's halt does not return")

    # What the pool asks for (launcher.serving.pool.hands.Hands).

    def start_worker(self, slot: Slot, evidence: Evidence, generation: int) -> int:  # noqa: ARG002 - the pool's signature
        """Fork a worker; in the child this does not return."""
        return self._have_forked(slot, evidence) if self.templates.used else self._fork(slot, evidence)

    def _have_forked(self, slot: Slot, evidence: Evidence) -> int:
        """Let the template fork a worker; what can fail on our side comes before."""
        self.worker_age += 1
        worker = self.worker_class(
            self.worker_age, self.pid, self.LISTENERS, self.app, self.timeout / 2.0, self.cfg, self.log
        )
        try:
            pid = worker.pid = self.templates.fork(slot, evidence, self.worker_age)
        except Exception:
            worker.tmp.close()
            raise
        self.WORKERS[pid] = worker
        self._stats["workers_spawned"] += 1
        return int(pid)

    def fork_from_template(self, index: int, evidence: Evidence, age: int, release: Callable[[], None]) -> int:
        """In a process forked from the template: fork the worker, which calls `release`."""
        self.worker_age = age - 1
        return self._fork(self.loop.pool.board.slot(index), evidence, release)

    def _fork(self, slot: Slot, evidence: Evidence, release: Callable[[], None] | None = None) -> int:
        """Fork a worker; it leaves by SystemExit or here, and never goes on as a second arbiter."""
        me = os.getpid()
        self.child = Child(self, slot, evidence, release)
        try:
            return int(self.spawn_worker())
        except BaseException as error:
            if os.getpid() == me or isinstance(error, SystemExit):
                raise
            evidence.write("".join(traceback.format_exception(error)))
            os._exit(ExitCode.NEVER_READY)
        finally:
            self.child = None

    def can_start(self) -> bool:
        """Tell whether a worker can be started; with --preload the application has to be imported first."""
        return self.templates.can_start()

    def send(self, pid: int, number: int) -> None:
        """Send a signal to a worker."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:  # of another user, and without CAP_KILL; ours look at the scoreboard, too
            if pid not in self._refused:
                self._refused.add(pid)
                self.log.warning("worker %s cannot be sent signals: it is another user's, and CAP_KILL is missing", pid)

    def stop_listening(self) -> None:
        """Close our listeners."""
        sock.close_sockets(self.LISTENERS, unlink=False)
        self.LISTENERS = []

    def load_new(self) -> None:
        """Read the configuration again."""
        self._stats["reloads"] += 1
        self.configuration.load_new()
        self.templates.prepare()

    def new_is_ready(self) -> bool:
        """With --preload the new application is imported before any worker is replaced."""
        return self.templates.switch()

    def keep_new(self) -> None:
        """The new workers are there."""
        self.configuration.keep_new()
        self.templates.keep_new()

    def keep_old(self) -> None:
        """Take the configuration of before back."""
        self.configuration.keep_old()
        self.templates.keep_old()

    def resized(self, wanted: int) -> None:
        """Let gunicorn, and hooks that ask it, know the number."""
        self.num_workers = wanted

    def copy_bytes(self) -> int:
        """With --preload a second template is there during a reload."""
        return self.templates.size_bytes()

    def close_in_child(self) -> None:
        """In a forked worker: let go of what is the arbiter's alone."""
        if self._closed_in == os.getpid():
            return
        self._closed_in = os.getpid()
        if self._lifeline_end >= 0:
            self.loop.alarm.forget()
            self.loop.monitor.close_in_child()
            os.close(self._lifeline_end)
            self._lifeline_end = -1
        for member in self.loop.pool.members:
            member.evidence.close()
        self.loop.pool.members = Members()  # a worker of a template's would close numbers that have become its own
        self.templates.close_in_child()
