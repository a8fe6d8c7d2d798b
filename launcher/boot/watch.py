"""What is the main thread waiting for, and what may interrupt it?

As PID 1 the kernel gives no default actions: without a handler of ours TERM would be ignored. So the stop signals are
taken from the first moments on, the main thread never blocks in anything but `Watch.wait`, and what may block for
seconds (a name look-up, a driver's connect: 6 s and more, measured) is called in a helper thread. Handlers only note
the signal. Children, and orphans when we are PID 1 or a subreaper, are reaped here and nowhere else.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from launcher.errors import Interrupted
from launcher.notify import Notifier
from launcher.redact import redact

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LONGEST_WAIT_S = 3600.0  # poll(2) takes an int of milliseconds: 24 days at most
_BEAT_S = 1.0
_SAY_EVERY_S, _MORE_TIME_S = 10.0, 60.0  # a machine that is short of CPU may be late with the next word


class Companion(Protocol):
    """A child of ours that is kept running while we wait, and is told what for."""

    @property
    def pid(self) -> int | None:
        """Its pid; None while it does not run."""

    def beat(self) -> None:
        """We live; called at least once a second while we wait."""

    def ended(self, pid: int, status: int) -> object:
        """It was reaped."""

    def doing(self, step: str, waiting_for: str) -> None:
        """What we are at."""


class Watch:
    """The main thread's one place to wait: descriptors, a deadline, stop signals and children."""

    def __init__(self) -> None:
        """Make the wake-up pipe; nothing is taken over before `installed`."""
        self.stopped_by: int | None = None
        self._signals_seen = 0
        self._statuses: dict[int, int] = {}
        self._mine: set[int] = set()
        self._adopts = os.getpid() == 1
        self._notifier, self._doing = Notifier({}), ""
        self._say_at = self._tell_at = math.inf
        self._companion: Companion | None = None
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    @contextlib.contextmanager
    def installed(self) -> Iterator[Watch]:
        """Take the signals; put everything back at the end. A signal that was ignored at our start stays ignored."""
        taken = [s for s in STOP_SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
        before = {s: signal.signal(s, self._note) for s in taken}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, before)  # a parent's mask: we could not be stopped
        try:
            yield self
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            signal.set_wakeup_fd(wakeup)
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _note(self, signum: int, _frame: object) -> None:
        self._signals_seen += 1
        if self.stopped_by is None:
            self.stopped_by = signum

    @property
    def stop_requests(self) -> int:
        """How many stop signals have come: the second one hastens."""
        return self._signals_seen

    def notifies(self, notifier: Notifier) -> None:
        """Tell systemd from now on that we live, and what `doing` says."""
        self._notifier = notifier
        self._tell()

    def accompanied_by(self, companion: Companion) -> None:
        """Keep `companion` running from now on, and tell it what `doing` says."""
        self._companion = companion

    def doing(self, what: str, *, step: str = "", waiting_for: str = "") -> None:
        """Say what the start waits for, now and every 10 s, and ask for more time for it; empty: it goes on.

        Each wait of this kind has an end of its own, so systemd's TimeoutStartSec need not guess it.
        """
        if self._companion is not None:
            self._companion.doing(redact(step or ("" if waiting_for else what)), redact(waiting_for))
        if self._notifier.active:
            self._doing, self._say_at = redact(what), time.monotonic() if what else math.inf
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + _SAY_EVERY_S
            self._notifier.extend(_MORE_TIME_S, self._doing)
        self._tell_at = min(self._say_at, self._notifier.watchdog() or math.inf)

    def check(self) -> None:
        """Raise Interrupted when a stop signal has come."""
        if self.stopped_by is not None:
            raise Interrupted(self.stopped_by)

    def wait(self, descriptors: Iterable[int] = (), *, deadline: float | None, interruptible: bool = True) -> set[int]:
        """Return the readable (or closed) descriptors; an empty set at the deadline, or sooner.

        `deadline` is an instant of `time.monotonic()`. Raises Interrupted unless `interruptible` is off.
        """
        if interruptible:
            self.check()
        poller = select.poll()
        for descriptor in (self._read, *descriptors):
            poller.register(descriptor, select.POLLIN | select.POLLHUP)
        left_s = min(math.inf if deadline is None else deadline, self._tell_at) - time.monotonic()
        if self._companion is not None:
            self._companion.beat()
            left_s = min(left_s, _BEAT_S)
        ready = {descriptor for descriptor, _ in poller.poll(min(max(left_s, 0.0), _LONGEST_WAIT_S) * 1000)}
        self._drain()
        self._reap()
        if time.monotonic() >= self._tell_at:
            self._tell()
        if interruptible:
            self.check()
        return ready - {self._read}

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 512):
                pass

    def pause(self, seconds: float) -> None:
        """Sleep, to be ended at once by a stop signal. Raises Interrupted."""
        self.check()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.wait(deadline=deadline)

    def mine(self, pid: int) -> None:
        """Remember a child of ours: its status is kept until `status` has been asked."""
        self._mine.add(pid)

    def status(self, pid: int) -> int | None:
        """Return the wait status of a child that ended, once; None while it lives."""
        self._reap()
        return self._statuses.pop(pid, None)

    def adopt_orphans(self, *, on: bool) -> None:
        """Become (or cease to be) the subreaper: a dead guard's step then comes to us. Linux only."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
            self._adopts = on or os.getpid() == 1

    def _reap(self) -> None:
        if self._adopts:  # only then are there strangers; elsewhere an unknown child is some library's to wait for
            while self._reap_one(-1):
                pass
        else:
            companion = self._companion.pid if self._companion is not None else None
            for pid in (*self._mine, *([companion] if companion is not None else [])):
                self._reap_one(pid)

    def _reap_one(self, which: int) -> bool:
        try:
            pid, status = os.waitpid(which, os.WNOHANG)
        except ChildProcessError:
            return False
        if self._companion is not None and pid == self._companion.pid:
            self._companion.ended(pid, status)
        elif pid in self._mine:
            self._mine.discard(pid)
            self._statuses[pid] = status
        return pid != 0

    def off_thread(self, function: Callable[[], T], *, timeout_s: float, interruptible: bool = True) -> T:
        """Call `function` in a helper thread and return (or raise) what it does; signals are answered meanwhile.

        Raises TimeoutError after `timeout_s` seconds, and Interrupted unless `interruptible` is off. A thread that
        still blocks then is left behind: it ends with the exec or the exit.
        """
        box: list[tuple[T | None, BaseException | None]] = []
        done, finish = os.pipe()

        def work() -> None:
            try:
                box.append((function(), None))
            except BaseException as error:  # noqa: BLE001 - carried to the main thread, whatever it is
                box.append((None, error))
            finally:
                os.close(finish)

        threading.Thread(target=work, daemon=True, name="launcher-off-thread").start()
        deadline = time.monotonic() + timeout_s
        try:
            while not box and time.monotonic() < deadline:
                self.wait([done], deadline=deadline, interruptible=interruptible)
        finally:
            os.close(done)
        if not box:
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        value, error = box[0]
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # None only where T is
