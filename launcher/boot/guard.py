"""How is it made sure that nothing of a step outlives the launcher?

A program of its own, executed by path (`python -I -S guard.py CONTROL GRACE REPORT HELD LEASE CONFIRMED ARGV...`): it
imports nothing of ours and nothing of the application's. It is the parent and subreaper of one step, in a session of
its own, deaf to the signals of the launcher's group, and keeps the lock's descriptors (HELD) open. Over CONTROL, a
socket to the launcher, it hears `t` (TERM, then KILL after GRACE seconds) and `k` (KILL now); end of file means that
the launcher is gone, kill -9 included. It ends only when the step and everything the step started is gone, and tells
how it ended.

LEASE: after so many seconds without the word that the lock was confirmed, the step is ended as by `t`, or not begun (0:
there is nothing to confirm). A launcher that is stopped, frozen or starved cannot say that it has lost the lock. The
word is `h` and the instant of the question, CONFIRMED the instant of the last one before the start, by `clock`.

PR_SET_PDEATHSIG alone was measured and is not enough: it is not inherited by grandchildren and fires when the *thread*
that forked ends. Here it only covers a kill -9 of this guard itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import struct
import sys
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_LINGER_S = 0.5  # helpers that end by themselves (multiprocessing's resource tracker) are no leftovers
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_CONFIRMED = 1 + struct.calcsize("=d")  # bytes of the word `h`


def clock() -> float:
    """Return seconds of the clock that all processes of a host share and that counts while the host is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def prctl(option: int, value: int) -> None:
    """Set one of the process's own attributes, where the kernel has them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants() -> dict[int, str]:
    """Return pid -> name of everything below this process, from /proc; zombies are left out.

    Not those of whose threads only the first has ended: they look like zombies, but work and have children.
    """
    parents: dict[int, tuple[int, str]] = {}
    dead: set[int] = set()
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH208, PTH112 - no pathlib here
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as above
                name, _, rest = file.read().partition("(")[2].rpartition(")")
                fields = rest.split()
                parents[int(entry)] = (int(fields[1]), name)
                if fields[0] in "ZX" and fields[17] == "1":  # state and num_threads of proc_pid_stat(5)
                    dead.add(int(entry))
    below: set[int] = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in parents.items() if parent in below} - below
        below |= more
        grown = bool(more)
    return {pid: parents[pid][1] for pid in below - dead - {os.getpid()}}


class Guard:
    """The state of one step's life."""

    def __init__(self, control: int, grace_s: float, lease_s: float, confirmed_at: float) -> None:
        """Remember the way to the launcher, how long TERM may take, and how long the lock lasts unconfirmed."""
        self.control, self.grace_s, self.lease_s, self.confirmed_at = control, grace_s, lease_s, confirmed_at
        self.words = b""
        self.lapsed = False  # it was ended because the lock was not confirmed in time
        self.step = 0
        self.status: int | None = None
        self.kill_at: float | None = None  # TERM has been sent: KILL from then on
        self.gone = False  # the launcher has ended; its socket stays readable for ever, so it is not listened to again
        self.wake, self.waker = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self.waker, False)

    def start(self, argv: list[str], keep: set[int]) -> None:
        """Fork and execute the step: own session, default signals, only the descriptors it may have."""
        guard = os.getpid()
        self.step = os.fork()
        if self.step:
            return
        try:
            os.setsid()
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            # The guard died before the line above, and no signal will come (prctl(2)); or all were frozen for too long.
            if os.getppid() != guard or self.is_overdue():
                os._exit(_NOT_EXECUTABLE)
            for signum in (*_DEAF_TO, signal.SIGPIPE, signal.SIGXFSZ):  # the last two Python ignores
                signal.signal(signum, signal.SIG_DFL)
            for descriptor in keep:
                os.set_inheritable(descriptor, True)  # noqa: FBT003 - its only signature
            os.set_inheritable(self.control, False)  # noqa: FBT003 - its only signature
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, os.fsencode(f"{argv[0]}: {error.strerror}\n"))
            os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)
        finally:
            os._exit(_NOT_EXECUTABLE)

    def reap(self) -> bool:
        """Collect whoever ended; return whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.step:
                self.status = status

    def hear(self) -> None:
        """Read the launcher's words; their end is as the word `t`."""
        try:
            heard = os.read(self.control, 512)
        except OSError:
            heard = b""
        self.gone = not heard
        if self.gone:
            self.end(clock())
        self.words += heard
        while self.words[:1] in (b"t", b"k") or len(self.words) >= _CONFIRMED:
            word = self.words[:1]
            if word == b"h":
                self.confirmed_at = max(self.confirmed_at, *struct.unpack("=d", self.words[1:_CONFIRMED]))
            elif word == b"k":
                self.kill_at = 0.0
            else:
                self.end(clock())
            self.words = self.words[_CONFIRMED if word == b"h" else 1 :]

    def end(self, asked_at: float) -> None:
        """Send TERM, once; KILL follows when the grace is over, counted from `asked_at`."""
        if self.kill_at is None:
            self.signal_all(signal.SIGTERM)
            self.kill_at = asked_at + self.grace_s

    def is_overdue(self) -> bool:
        """Whether the lock was not confirmed in time."""
        return bool(self.lease_s) and clock() >= self.confirmed_at + self.lease_s

    def check_lease(self) -> float:
        """End the step when the lock was not confirmed in time; return how long to wait until the next look."""
        if not self.lease_s or self.kill_at is not None:
            return 3600.0
        left_s = self.confirmed_at + self.lease_s - clock()
        if left_s > 0:
            return left_s
        self.lapsed = True
        self.end(self.confirmed_at + self.lease_s)  # frozen for longer than the grace: KILL at once
        return 0.05

    def signal_all(self, signum: int) -> list[str]:
        """Send a signal to everything below; return the names."""
        below = descendants()
        for pid in below:
            with contextlib.suppress(OSError):
                os.kill(pid, signum)
        if not below:  # no /proc: the session is the best that can be had
            with contextlib.suppress(OSError):
                os.killpg(self.step, signum)
        return sorted(below.values())

    def wait(self, timeout_s: float) -> None:
        """Wait for a child, a word, or the time."""
        descriptors = [self.wake] if self.gone else [self.wake, self.control]
        ready, _, _ = select.select(descriptors, [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 512)
        if self.control in ready:
            self.hear()

    def guard(self) -> None:
        """Stay until the step has ended, killing it when told to."""
        while self.status is None and self.reap() and self.status is None:
            wait_s = self.check_lease()
            if self.kill_at is not None and clock() >= self.kill_at:
                self.signal_all(signal.SIGKILL)
            self.wait(wait_s if self.kill_at is None else 0.05)

    def clear(self) -> list[str]:
        """End whatever the step has left behind; return the names of those that had to be killed."""
        names: list[str] = []
        linger_until = clock() + _LINGER_S
        while self.reap():
            now = clock()
            if self.kill_at is None and now >= linger_until:
                names = self.signal_all(signal.SIGTERM)
                self.kill_at = min(now, self.confirmed_at + self.lease_s if self.lease_s else now) + self.grace_s
            elif self.kill_at is not None and now >= self.kill_at:
                names = names or sorted(descendants().values())
                self.signal_all(signal.SIGKILL)
            self.wait(0.02)
        return names


def main(argv: list[str]) -> None:
    """Guard one step; see the module's first lines for the arguments."""
    control, grace_s, report, held = int(argv[0]), float(argv[1]), int(argv[2]), argv[3]
    lease_s, confirmed_at = float(argv[4]), float(argv[5])
    keep = {int(number) for number in held.split(",") if number} | ({report} if report >= 0 else set())
    for signum in _DEAF_TO:
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a blocked SIGCHLD, inherited, would hide the step's end
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    guard = Guard(control, grace_s, lease_s, confirmed_at)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(guard.waker, warn_on_full_buffer=False)
    guard.lapsed = guard.is_overdue()
    if not guard.lapsed:
        guard.start(argv[6:], keep)
    os.closerange(0, 3)  # the launcher reads the step's output to its end: ours must not keep it open
    if report >= 0:
        os.close(report)
    guard.guard()
    leftovers = guard.clear()
    with contextlib.suppress(OSError):  # the launcher may be gone
        os.write(control, json.dumps({"status": guard.status, "leftovers": leftovers, "lapsed": guard.lapsed}).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
