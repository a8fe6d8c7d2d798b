"""How is one command executed so that nothing of it outlives us?

Under `guard.py`: this module starts it, reads the step's output line by line, keeps the time, and passes on what ends
it: the deadline, a stop signal (a second one hastens), a lost lock.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from launcher.boot.guard import descendants
from launcher.boot.watch import Watch
from launcher.crossing import anonymous_file
from launcher.errors import Interrupted, LauncherError, LockLost, StepFailed
from launcher.locks import Held
from launcher.steps import Command, Finished

GRACE_S = 5.0  # from TERM to KILL; K of evidence/locks.md: give-up + K + margin < the lock's expiry
TAIL_LINES = 40
_LINE_BYTES = 16 * 1024  # a longer line is split: one step cannot fill our memory
_CHUNK = 64 * 1024
_CONTINUES = 0b10  # the first bits of every byte of a UTF-8 character but its first (RFC 3629 §3)

OnLine = Callable[[str, str], None]


@dataclass(slots=True)
class _Stream:
    """One of the step's pipes, cut into lines."""

    name: str
    descriptor: int
    rest: bytes = b""

    def read(self) -> list[str] | None:
        """Return the complete lines that can be read now; None at the end of file."""
        data = os.read(self.descriptor, _CHUNK)
        if not data:
            return None
        *complete, rest = (self.rest + data).split(b"\n")
        lines = [part for line in complete for part in _cut(line)]
        *more, self.rest = _cut(rest)
        return [line.decode(errors="replace").rstrip("\r") for line in (*lines, *more)]


def _cut(line: bytes) -> list[bytes]:
    """Return a line in parts of at most `_LINE_BYTES`, cut before the first byte of a UTF-8 character."""
    parts, start = [], 0
    while len(line) - start > _LINE_BYTES:
        end = start + _LINE_BYTES
        back = next((n for n in range(4) if line[end - n] >> 6 != _CONTINUES), 0)
        parts.append(line[start : end - back])
        start = end - back
    return [*parts, line[start:]]


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

    def execute(self, command: Command) -> Finished:
        """Run `command` to its end. Raises Interrupted and LockLost, when its whole tree is dead."""
        self.watch.check()
        started = time.monotonic()
        with _Child(self, command) as child:
            self._follow(child, started + self.timeout_s)
            pid = child.popen.pid
        if self._why is not None:
            raise self._why
        ended = self._ended()
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
            ready = self.watch.wait(child.descriptors(), deadline=self._until(child, deadline), interruptible=False)
            self._read(child, ready)
            child.poll()
            if self.watch.stop_requests > stops_seen:
                stops_seen = self.watch.stop_requests
                self._why = self._why or Interrupted(self.watch.stopped_by or signal.SIGTERM)
                child.stop(hasten=child.stopping)
            elif not child.stopping and child.status is None and time.monotonic() >= deadline:
                self._timed_out = True
                child.stop()
            self._confirm(child)
            if was_over and not ready:
                break  # whoever still has our pipe is not of the step's tree
        if not self._ended():
            self._sweep()

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
        return min(deadline, self._next_heartbeat)

    def _sweep(self) -> None:
        """Kill what a guard that was killed itself has left: as subreaper we have inherited it."""
        while below := descendants():
            for pid in below:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.watch.wait(deadline=time.monotonic() + 0.02, interruptible=False)

    def _confirm(self, child: _Child) -> None:
        """Ask for ownership of the lock when it is time (G of evidence/locks.md bounds the answer)."""
        if self.held is None or self.held.heartbeat_s is None or child.stopping or child.status is not None:
            return
        if time.monotonic() < self._next_heartbeat:
            return
        try:
            self.watch.off_thread(self.held.confirm, timeout_s=self.held.give_up_s or self.held.heartbeat_s)
        except Interrupted:
            return  # seen by the caller's own count
        except (LockLost, TimeoutError) as error:
            self._why = error if isinstance(error, LockLost) else LockLost(f"the lock could not be confirmed: {error}")
            child.stop()
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
        data = os.read(descriptor, _CHUNK)
        self._report += data
        return [] if data else None


class _Child:
    """The guard process with our ends of its pipes."""

    def __init__(self, run: Run, command: Command) -> None:
        self.run, self.command = run, command
        self.streams: dict[int, _Stream] = {}
        self.status: int | None = None
        self.stopping = False
        self.told = False  # the guard's word has come to its end

    def __enter__(self) -> Self:
        self.control, theirs = socket.socketpair()
        inputs, outputs = self._stdin(), []
        for name in ("stdout", "stderr", *(["report"] if self.command.reports else [])):
            ours, their_end = os.pipe()
            self.streams[ours] = _Stream(name, ours)
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
        numbers = (str(control), str(self.run.grace_s), str(report), ",".join(map(str, held)))
        return [sys.executable, "-I", "-S", guard, *numbers, *self.command.argv]

    def _environ(self, report: int) -> Iterator[tuple[str, str]]:
        yield from self.run.environ.items()
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
            word = self.control.recv(_CHUNK)
        except OSError:  # reset: it was killed before it read ours
            word = b""
        self.told = not word
        return word

    def stop(self, *, hasten: bool = False) -> None:
        """Tell the guard to end the step: TERM, then KILL after the grace; at once when hastened."""
        self.stopping = True
        with contextlib.suppress(OSError):
            self.control.send(b"k" if hasten else b"t")

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
