"""How is one command executed so that nothing of it outlives us?

Under `guard.py`: this module starts it, reads the step's output line by line, keeps the time, and passes on what ends
it: the deadline, a stop signal (a second one hastens), a lost lock.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from launcher.boot.guard import clock, descendants
from launcher.boot.lines import CHUNK, Stream
from launcher.boot.lock_side import patience_s
from launcher.boot.watch import Watch
from launcher.crossing import anonymous_file
from launcher.errors import Interrupted, LauncherError, LockLost, StepFailed
from launcher.locks import Held
from launcher.notify import NAMES as SYSTEMD_NAMES
from launcher.steps import Command, Finished

GRACE_S = 5.0  # from TERM to KILL; K of evidence/locks.md: give-up + K + margin < the lock's expiry
TAIL_LINES = 40
_QUIET_S = 0.1
_GUARD_S = 2.0  # beyond the grace: a guard that has not ended by then is stopped itself, or hangs

OnLine = Callable[[str, str], None]


@dataclass(slots=True, kw_only=True)
class Run:
    """What the execution of one command needs, and what is known of it while it lasts."""

    watch: Watch
    cwd: Path
    environ: Mapping[str, str]
    timeout_s: float
    on_line: OnLine = lambda _stream, _line: None
    held: Held | None = None
    grace_s: float = GRACE_S
    _tail: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=TAIL_LINES))
    _report: bytearray = field(default_factory=bytearray)
    _word: bytearray = field(default_factory=bytearray)  # the guard's, about the end
    _why: LauncherError | None = None
    _timed_out: bool = False
    _next_heartbeat: float = 0.0
    _quiet_until: float = 0.0  # the lock's connection is not looked at again so soon: it may stay readable
    confirmed_at: float = 0.0

    def execute(self, command: Command) -> Finished:
        """Run `command` to its end. Raises Interrupted and LockLost, when its whole tree is dead."""
        self.watch.check()
        started = time.monotonic()
        self._confirm_before()
        with _Child(self, command) as child:
            self._follow(child, started + self.timeout_s)
            pid = child.popen.pid
        if self._why is not None:
            raise self._why
        ended = self._ended()
        if ended.get("lapsed"):
            raise LockLost("the lock was not confirmed in time: the step was killed")
        status = ended.get("status")
        return Finished(
            # No word from the guard: it was killed itself, and the step with it.
            status=os.waitstatus_to_exitcode(int(str(status))) if status is not None else -signal.SIGKILL,
            seconds=time.monotonic() - started,
            tail="\n".join(self._tail) or ("" if status is not None else f"the step guard {pid} was killed"),
            report=bytes(self._report),
            timed_out=self._timed_out,
            leftovers=tuple(map(str, ended.get("leftovers", []))),  # type: ignore[call-overload]  # the guard writes a list
        )

    def _follow(self, child: _Child, deadline: float) -> None:
        stops_seen = 0  # also what came since `check`, while the guard was started
        while child.streams or child.status is None or not child.told:
            was_over = child.status is not None  # if so, all that was written was there before the wait
            ready = self.watch.wait(self._awaited(child), deadline=self._until(child, deadline), interruptible=False)
            self._read(child, ready)
            child.poll()
            if self.watch.stop_requests > stops_seen:
                stops_seen = self.watch.stop_requests
                self._why = self._why or Interrupted(self.watch.stopped_by or signal.SIGTERM)
                child.stop(hasten=child.stopping)
            elif not child.stopping and child.status is None and time.monotonic() >= deadline:
                self._timed_out = True
                child.stop()
            child.end_guard(self.grace_s + _GUARD_S)
            self._confirm(child, ready)
            if was_over and not ready:
                break  # whoever still has our pipe is not of the step's tree
        if not self._ended():
            self._sweep()

    def _awaited(self, child: _Child) -> list[int]:
        """Return what may become readable: the step's pipes, the guard's word, the lock's connection."""
        idle = self.held is None or child.stopping or child.status is not None or time.monotonic() < self._quiet_until
        watched = None if self.held is None or idle else self.held.watched()
        return [*child.descriptors(), *([watched] if watched is not None else [])]

    def _ended(self) -> dict[str, object]:
        """Return what the guard told; empty when it could not."""
        with contextlib.suppress(ValueError):
            return dict(json.loads(self._word))
        return {}

    def _until(self, child: _Child, deadline: float) -> float:
        """Return when to look again: soon while something is ending, else at the next heartbeat or the deadline."""
        if child.stopping or child.status is not None:
            return time.monotonic() + 0.05
        if self.held is None or self.held.heartbeat_s is None:
            return deadline
        quiet_until = self._quiet_until if time.monotonic() < self._quiet_until else deadline
        return min(deadline, self._next_heartbeat, quiet_until)

    def _sweep(self) -> None:
        """Kill what a guard that was killed itself has left: as subreaper we have inherited it."""
        while below := descendants():
            for pid in below:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.watch.wait(deadline=time.monotonic() + 0.02, interruptible=False)

    def _confirm_before(self) -> None:
        """Ask for ownership before anything is started: we may have been stopped since the lock was taken."""
        self.confirmed_at = clock()
        if self.held is not None and self.held.heartbeat_s is not None:
            try:
                self.watch.off_thread(self.held.confirm, timeout_s=patience_s(self.held))
            except OSError as error:
                raise LockLost(f"the lock could not be confirmed: {error}") from error
            self._next_heartbeat = time.monotonic() + self.held.heartbeat_s

    def _confirm(self, child: _Child, ready: set[int]) -> None:
        """Ask for ownership of the lock when it is time, or when its connection has something to say."""
        if self.held is None or self.held.heartbeat_s is None or child.stopping or child.status is not None:
            return
        if time.monotonic() < self._next_heartbeat and self.held.watched() not in ready:
            return
        asked_at = clock()
        try:
            self.watch.off_thread(self.held.confirm, timeout_s=patience_s(self.held))
            child.say_confirmed(asked_at)
        except Interrupted:
            return  # seen by the caller's own count
        except (LockLost, OSError) as error:
            self._why = error if isinstance(error, LockLost) else LockLost(f"the lock could not be confirmed: {error}")
            child.stop()
        self._quiet_until = time.monotonic() + _QUIET_S
        self._next_heartbeat = time.monotonic() + self.held.heartbeat_s

    def _read(self, child: _Child, ready: set[int]) -> None:
        if child.control.fileno() in ready:
            self._word += child.hear()
        for descriptor in ready & child.streams.keys():
            stream = child.streams[descriptor]
            lines = self._read_report(descriptor) if stream.name == "report" else stream.read()
            if lines is None:
                lines = [stream.rest.decode(errors="replace")] if stream.rest else []
                child.close(descriptor)
            for line in lines:
                self._tail.append(line)
                self.on_line(stream.name, line)

    def _read_report(self, descriptor: int) -> list[str] | None:
        data = os.read(descriptor, CHUNK)
        self._report += data
        return [] if data else None


class _Child:
    """The guard process with our ends of its pipes."""

    def __init__(self, run: Run, command: Command) -> None:
        self.run, self.command = run, command
        self.streams: dict[int, Stream] = {}
        self.status: int | None = None
        self.stopping = False
        self.stopped_at = math.inf
        self.told = False  # the guard's word has come to its end

    def __enter__(self) -> Self:
        self.control, theirs = socket.socketpair()
        inputs, outputs = self._stdin(), []
        for name in ("stdout", "stderr", *(["report"] if self.command.reports else [])):
            ours, their_end = os.pipe()
            self.streams[ours] = Stream(name, ours)
            outputs.append(their_end)
        self.run.watch.adopt_orphans(on=True)
        held = self.run.held.descriptors() if self.run.held else ()
        report = outputs[2] if self.command.reports else -1
        try:
            self.popen = subprocess.Popen(
                self._argv(theirs.fileno(), report, held),
                stdin=inputs,
                stdout=outputs[0],
                stderr=outputs[1],
                pass_fds=(theirs.fileno(), *held, *([report] if report >= 0 else [])),
                cwd=self.run.cwd,
                env=dict(self._environ(report)),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # no processes left, arguments too long, a NUL byte among them
            raise StepFailed(f"{self.command.argv[0]} could not be started: {error}") from error
        finally:
            theirs.close()
            for descriptor in (inputs, *outputs):
                os.close(descriptor)
        self.run.watch.mine(self.popen.pid)
        return self

    def _argv(self, control: int, report: int, held: tuple[int, ...]) -> list[str]:
        """Return the guard's command line; see its first lines."""
        guard = str(Path(__file__).with_name("guard.py"))
        lease_s = (self.run.held.give_up_s if self.run.held else None) or 0
        lease = (str(lease_s), str(self.run.confirmed_at))
        numbers = (str(control), str(self.run.grace_s), str(report), ",".join(map(str, held)), *lease)
        return [sys.executable, "-I", "-S", guard, *numbers, *self.command.argv]

    def _environ(self, report: int) -> Iterator[tuple[str, str]]:
        yield from ((name, value) for name, value in self.run.environ.items() if name not in SYSTEMD_NAMES)
        yield from self.command.environ.items()
        if report >= 0:
            yield "LAUNCHER_STEP_REPORT_FD", str(report)

    def _stdin(self) -> int:
        """Return what the step reads: what was to be handed over, else nothing."""
        if not self.command.stdin:
            return os.open(os.devnull, os.O_RDONLY)
        content = anonymous_file("launcher-stdin", self.command.stdin)  # a pipe that is full would block us
        os.lseek(content, 0, os.SEEK_SET)
        return content

    def poll(self) -> None:
        """Learn whether the guard has ended."""
        if self.status is None:
            self.status = self.run.watch.status(self.popen.pid)
            if self.status is not None:
                self.popen.returncode = os.waitstatus_to_exitcode(self.status)

    def descriptors(self) -> list[int]:
        """Return what may become readable: the step's pipes, and the guard's word until its end."""
        return [*self.streams] if self.told else [*self.streams, self.control.fileno()]

    def hear(self) -> bytes:
        """Read some of the guard's word."""
        try:
            word = self.control.recv(CHUNK)
        except OSError:  # reset: it was killed before it read ours
            word = b""
        self.told = not word
        return word

    def stop(self, *, hasten: bool = False) -> None:
        """Tell the guard to end the step: TERM, then KILL after the grace; at once when hastened."""
        self.stopped_at = min(self.stopped_at, time.monotonic())
        self.stopping = True
        with contextlib.suppress(OSError):
            self.control.send(b"k" if hasten else b"t")

    def end_guard(self, patience_s: float) -> None:
        """Kill a guard that was told to stop and has not: its step comes to us then, to be swept."""
        if self.status is None and time.monotonic() >= self.stopped_at + patience_s:
            with contextlib.suppress(OSError):
                os.kill(self.popen.pid, signal.SIGKILL)

    def say_confirmed(self, asked_at: float) -> None:
        """Tell the guard that the lock was ours at this instant of `clock`."""
        with contextlib.suppress(OSError):
            self.control.send(struct.pack("=cd", b"h", asked_at))

    def close(self, descriptor: int) -> None:
        """Let one pipe go."""
        del self.streams[descriptor]
        os.close(descriptor)

    def __exit__(self, *_: object) -> None:
        for descriptor in tuple(self.streams):
            self.close(descriptor)
        if self.status is None:  # an error of ours: nothing of the step may stay
            self.stop(hasten=True)
            while self.status is None:
                self.run.watch.wait([], deadline=time.monotonic() + 0.05, interruptible=False)
                self.poll()
        self.control.close()
