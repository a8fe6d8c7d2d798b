"""Who touches the folder of crash reports?

A child that is forked for it and gone a moment later: the folder may be on a disk that hangs, and who answers probes
does not wait for one. Its answers come over a socket, in the order in which it was asked, with a descriptor where it
has opened a file that is to stay open. There is one child at a time, and none while there is nothing to do.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from launcher.aside import Aside, forked

LATE_S = 2.0  # who asks over the socket gives up after 5 s
_MOST_WAITING = 1000
_HEAD = struct.Struct("!I?")  # length of the answer; whether a descriptor comes with it
_CHUNK_BYTES = 1 << 16
_MOST_FDS = 16  # at once
_LOOK_S = 0.05


class Done(NamedTuple):
    """What a job has found, as JSON can say it, and a file that it has opened for us."""

    said: Any = None
    fd: int = -1


Job = Callable[[], Done]  # done by the child, with what we knew when it was forked
Then = Callable[[Done], None]  # done by us


class Do(Protocol):
    """`Disk.do`."""

    def __call__(
        self, job: Job, then: Then | None = None, late: Callable[[], None] | None = None, *, fd: int = -1
    ) -> None:
        """Have a job done."""


class _Task:
    """A job, what follows, and what is done instead when there is no answer in time: then nobody hears of it later."""

    __slots__ = ("at", "fd", "job", "late", "then")

    def __init__(self, job: Job, then: Then | None, late: Callable[[], None] | None, fd: int, at: float) -> None:
        self.job, self.then, self.late, self.fd, self.at = job, then, late, fd, at


class Disk:
    """Has jobs done. `look` has to be called about once a second."""

    def __init__(
        self,
        watch: Callable[[int, Callable[[], None]], None],
        forget: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Have `watch` call us when the socket can be read, until `forget`."""
        self._watch, self._forget, self._clock = watch, forget, clock
        self._aside = _Children(self)
        self._socket: socket.socket | None = None
        self._asked: deque[_Task] = deque()  # of the child at work
        self._content = bytearray()
        self._fds: deque[int] = deque()
        self._unreaped: list[int] = []

    def do(self, job: Job, then: Then | None = None, late: Callable[[], None] | None = None, *, fd: int = -1) -> None:
        """Have a job done, and `then` called with what it has found: `Done()` when the child has died of it.

        fd: a descriptor of ours that it makes use of; the child has no other.
        late: called instead when that takes longer than 2 s. Beyond a thousand jobs it is
            `Done()` at once.
        """
        if len(self._aside.waiting) < _MOST_WAITING:
            self._aside.add(_Task(job, then, late, fd, self._clock()))
        elif late is not None:
            late()
        elif then is not None:
            then(Done())

    @property
    def busy(self) -> bool:
        """Whether a job is not done yet."""
        return self._socket is not None or bool(self._aside.waiting)

    def look(self) -> None:
        """Give up on who waits for too long; begin what could not be begun; bury who has ended."""
        self._unreaped = [pid for pid in self._unreaped if not _has_ended(pid)]
        now = self._clock()
        for task in [*self._asked, *self._aside.waiting]:
            if task.late is not None and now - task.at >= LATE_S:
                late, task.then, task.late = task.late, None, None
                if task in self._aside.waiting:
                    self._aside.waiting.remove(task)
                late()
        self._aside.begin()

    def finish(self, patience_s: float) -> None:
        """Wait until all is done, no longer than that; what is left then is another child's, which outlives us."""
        until = time.monotonic() + patience_s
        self._aside.begin()
        while self._socket is not None and time.monotonic() < until:
            if select.select((self._socket,), (), (), _LOOK_S)[0]:
                self._read()
        if self._socket is not None:
            self._let_go()
            self._aside.begin()

    def started(self, batch: Sequence[_Task]) -> int:
        """Fork a child for these jobs. Raises OSError."""
        ours, its = socket.socketpair()
        try:
            pid = forked(lambda: _work(its, batch), but={its.fileno(), *(task.fd for task in batch if task.fd >= 0)})
        except OSError:
            ours.close()
            raise
        finally:
            its.close()
        ours.setblocking(False)  # noqa: FBT003 - socket's signature
        self._socket, self._asked, self._content = ours, deque(batch), bytearray()
        self._watch(ours.fileno(), self._read)
        return pid

    def _read(self) -> None:
        if self._socket is None:
            return
        try:
            chunk, fds, _, _ = socket.recv_fds(self._socket, _CHUNK_BYTES, _MOST_FDS)
        except BlockingIOError:
            return
        except OSError:
            chunk, fds = b"", []
        for fd in fds:
            os.set_inheritable(fd, False)  # noqa: FBT003 - os's signature
        self._fds += fds
        self._content += chunk
        try:
            self._take()
        finally:
            if not chunk:
                self._end()

    def _take(self) -> None:
        """Hand on the answers that are complete."""
        while self._asked and len(self._content) >= _HEAD.size:
            length, has_fd = _HEAD.unpack_from(self._content)
            if len(self._content) < _HEAD.size + length:
                return
            said = json.loads(self._content[_HEAD.size : _HEAD.size + length])
            del self._content[: _HEAD.size + length]
            _answer(self._asked.popleft(), Done(said, self._fds.popleft() if has_fd and self._fds else -1))

    def _end(self) -> None:
        """Take note of the end of a child: what it has not answered, it has not done."""
        self._let_go()
        unanswered, self._asked = self._asked, deque()
        fault: Exception | None = None
        for task in unanswered:
            try:
                _answer(task, Done())
            except Exception as error:  # noqa: BLE001 - the others wait for theirs; the first is raised below
                fault = fault or error
        self._aside.begin()
        if fault is not None:
            raise fault

    def _let_go(self) -> None:
        ours, self._socket = self._socket, None
        if ours is not None:
            self._forget(ours.fileno())
            ours.close()
        while self._fds:  # of answers that did not come whole: the next child's would be taken for them
            os.close(self._fds.popleft())
        pid, self._aside.pid = self._aside.pid, None
        if pid is not None and not _has_ended(pid):
            self._unreaped.append(pid)


class _Children(Aside[_Task]):
    """Starts them with a socket."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(bool)
        self._disk = disk

    def start(self, batch: Sequence[_Task]) -> int:
        return self._disk.started(batch)


def _answer(task: _Task, done: Done) -> None:
    if task.then is not None:
        task.then(done)
    elif done.fd >= 0:
        os.close(done.fd)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _work(its: socket.socket, batch: Sequence[_Task]) -> bool:
    """In the child: do them, and say of each what it has found, as long as there is somebody to hear that."""
    heard = True
    for task in batch:
        try:
            done = task.job()
        except Exception:  # noqa: BLE001 - the others are none the worse
            done = Done()
        if heard:
            heard = _say(its, done)
    return heard


def _say(its: socket.socket, done: Done) -> bool:
    said = json.dumps(done.said).encode()
    head = _HEAD.pack(len(said), done.fd >= 0)
    try:
        if done.fd >= 0:
            socket.send_fds(its, [head], [done.fd])
        else:
            its.sendall(head)
        its.sendall(said)
    except OSError:  # the monitor is gone
        return False
    return True
