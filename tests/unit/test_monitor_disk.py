"""Does the monitor go on while the disk with its crash reports hangs?

It hangs for real: whoever opens a named pipe waits for who reads from it.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import stat
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.incidents.report import new_report
from launcher.incidents.store import MOST_BYTES_IN_MEMORY, Store
from launcher.monitor.crashes import Crashes
from launcher.monitor.disk import LATE_S, Disk, Done
from launcher.monitor.last_words import LastWords
from launcher.monitor.pending import Pending
from launcher.monitor.processes import Processes
from launcher.monitor.samples import Samples
from launcher.monitor.unwritten import LATE_S as REPORT_LATE_S
from launcher.monitor.unwritten import Unwritten
from launcher.monitor.view import View
from launcher.scoreboard import Board
from launcher.serving.aside import _MOST, Aside
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


LINE = '  File "/app/main.py", line 7 in answer\n'


@dataclass
class Loop:
    """The monitor's loop and a disk: what is done waits for the pipe when it is to hang."""

    pipe: Path
    now: float = 0.0
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __post_init__(self) -> None:
        os.mkfifo(self.pipe)
        self.disk = Disk(self._watch, self._forget, lambda: self.now)

    def _watch(self, fd: int, callback: Any) -> None:
        self.selector.register(fd, selectors.EVENT_READ, callback)

    def _forget(self, fd: int) -> None:
        self.selector.unregister(fd)

    def hang(self) -> Done:
        """Hang until somebody thaws."""
        with self.pipe.open("wb"):
            return Done()

    def thaw(self) -> None:
        """Let who hangs go on; return when there is nothing to do any more."""
        os.close(os.open(self.pipe, os.O_RDONLY))
        self.turn()

    def turn(self) -> None:
        """Turn until there is nothing to do any more."""

        def idle() -> bool:
            for key, _ in self.selector.select(0.01):
                key.data()
            self.disk.look()
            return not self.disk.busy

        until(idle, "an idle disk")


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """Return one, and let nobody hang after the test."""
    one = Loop(tmp_path / "pipe")
    yield one
    reader = os.open(one.pipe, os.O_RDONLY | os.O_NONBLOCK)
    one.turn()
    os.close(reader)


def killed() -> Done:
    """Kill the process that does this."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Done("alive")


def test_answers_come_in_order(loop: Loop) -> None:
    """Each with what was found; of a job that fails or kills its process none, and the next are done."""
    answers: list[Any] = []
    for job in (lambda: Done([1]), lambda: Done(1 / 0), lambda: Done({"x": "y" * 500_000})):
        loop.disk.do(job, lambda done: answers.append(done.said))
    loop.turn()
    loop.disk.do(killed, lambda done: answers.append(done.said))
    loop.disk.do(lambda: Done("last"), lambda done: answers.append(done.said))
    loop.turn()

    assert [[1], None, {"x": "y" * 500_000}, None, "last"] == answers


def test_a_file_comes_with_the_answer(loop: Loop, tmp_path: Path) -> None:
    """It stays open here when its process has ended, and another process is handed it: nothing else that is open."""
    opened: list[int] = []
    loop.disk.do(
        lambda: Done(fd=os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)), lambda done: opened.append(done.fd)
    )
    loop.turn()
    ours, left = os.pipe()
    found: list[Any] = []
    for fd in (opened[0], left):
        loop.disk.do(lambda fd=fd: Done(os.write(fd, b"text")), lambda done: found.append(done.said), fd=opened[0])  # type: ignore[misc]  # as above
    loop.turn()
    for fd in (*opened, ours, left):
        os.close(fd)

    assert [4, None] == found
    assert "text" == (tmp_path / "file").read_text()


def is_socket(fd: int) -> bool:
    """Tell whether it is open and a socket."""
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def test_a_file_of_an_answer_that_did_not_come_is_nobodys(loop: Loop, tmp_path: Path) -> None:
    """The next answer with a file comes with its own."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)

    def half() -> Done:
        """Send the file and the length, and die of the rest."""
        its = socket.socket(fileno=next(fd for fd in range(1000) if is_socket(fd)))  # it has no other
        socket.send_fds(its, [struct.pack("!I?", 1000, True)], [os.open(tmp_path / "old", os.O_RDONLY)])  # noqa: FBT003 - struct's signature
        return killed()

    found: list[Any] = []
    loop.disk.do(half, found.append)
    loop.turn()
    loop.disk.do(lambda: Done(fd=os.open(tmp_path / "new", os.O_RDONLY)), found.append)
    loop.turn()
    read = os.read(found[1].fd, 10)
    os.close(found[1].fd)

    assert (Done(), b"new") == (found[0], read)


def test_one_that_raises_keeps_nobody_from_hearing(loop: Loop) -> None:
    """All that a child has not answered are told so, and the first fault is raised."""
    heard: list[Any] = []
    loop.disk.do(killed, lambda done: heard.append(1 / (done.said or 0)))
    loop.disk.do(killed, lambda done: heard.append(1 / (done.said or 0)))
    loop.disk.do(Done, lambda done: heard.append(done.said))
    with pytest.raises(ZeroDivisionError):
        loop.turn()
    with pytest.raises(ZeroDivisionError):
        loop.turn()
    loop.turn()

    assert [None] == heard


def test_the_last_words_wait_for_the_disk(loop: Loop, tmp_path: Path) -> None:
    """Nobody else does; one text is written at a time, then the newest, and who ends hears that when it is written."""
    log, said = tmp_path / "log", list[Any]()

    def say(message: Any) -> bool:
        said.append(message)
        return True

    view = View(Board.create(), lambda: loop.now)
    samples = Samples(view.board, Processes(), lambda: None, lambda: loop.now)
    plan = {"incidents": {"folder": "", "because": "read-only", "termination_log": str(log)}}
    crashes = Crashes(plan, view, samples, say, loop.disk.do)
    words = LastWords(plan, view, crashes, samples, loop.disk.do)
    loop.disk.do(loop.hang)
    for step in ("one", "two", "three"):
        view.hear({"event": "boot", "step": step})
        words.look()
    hung = log.exists()
    loop.thaw()
    newest = log.read_text()
    loop.disk.do(loop.hang)
    words.hear({"event": "launcher.server_ended", "code": 3})
    unsaid = list(said)
    loop.thaw()

    assert (False, "asgi-launcher: booting, step three\n", []) == (hung, newest, unsaid)
    assert ("asgi-launcher: gave up, exit code 3\n", [{"ended": True}]) == (log.read_text(), said)


def test_who_asks_is_told_that_the_disk_hangs(loop: Loop) -> None:
    """In time, and only that, also when the answer comes later; nobody else's job is lost."""
    said: list[str] = []
    loop.disk.do(loop.hang, lambda _: said.append("found"), lambda: said.append("late"))
    loop.disk.do(Done, lambda _: said.append("second"), lambda: said.append("late, too"))
    loop.disk.do(Done, lambda _: said.append("third"))
    loop.now += LATE_S
    loop.disk.look()
    hung = list(said)
    loop.thaw()

    assert ["late", "late, too"] == hung
    assert ["third"] == said[len(hung) :]


@dataclass
class Writer:
    """What is not on disk yet, and what was said of it."""

    loop: Loop
    folder: Path
    kept: list[tuple[str, str]] = field(default_factory=list)
    hangs: int = 0

    def __post_init__(self) -> None:
        self.store = Store(self.folder)
        self.unwritten = Unwritten(self.store, self.loop.disk.do, self._hangs, lambda: self.loop.now)

    def _hangs(self) -> None:
        self.hangs += 1

    def add(self, title: str, **facts: Any) -> str:
        """Add a report and return its id."""
        report = new_report("crash", title, **facts)
        self.unwritten.add(report, lambda path, because: self.kept.append((title, because or path)))
        return str(report["id"])

    def read(self) -> list[tuple[str, int]]:
        """Return what is on disk, the oldest first, and how many each stands for."""
        return [(one["title"], one["merged"]) for one in reversed(Store(self.folder).all())]


def test_reports_wait_in_memory_for_the_disk(loop: Loop, tmp_path: Path) -> None:
    """In time they count as kept, which is said once, with why; when it answers all are written, none twice."""
    writer = Writer(loop, tmp_path / "crashes")
    loop.disk.do(loop.hang)
    numbers = [writer.add("first"), writer.add("second")]
    before = [number in writer.unwritten for number in numbers]
    loop.now += REPORT_LATE_S
    writer.unwritten.look()
    writer.unwritten.look()
    writer.add("third")
    in_memory = [report["title"] for report in writer.store.remembered()]
    loop.thaw()

    because = f"{tmp_path / 'crashes'} does not answer"
    assert ([True, True], ["third", "second", "first"]) == (before, in_memory)
    assert [("first", because), ("second", because)] == writer.kept[:2]
    assert ["third"] == [title for title, _ in writer.kept[2:]]
    assert ([("first", 0), ("second", 0), ("third", 0)], []) == (writer.read(), writer.store.remembered())
    assert (1, "") == (writer.hangs, writer.store.because)


def test_what_memory_has_no_room_for_is_counted(loop: Loop, tmp_path: Path) -> None:
    """Every death has a report, or is counted by one; whoever sent it is told in every case."""
    writer = Writer(loop, tmp_path / "crashes")
    loop.disk.do(loop.hang)
    count = 60
    for number in range(count):
        writer.add(f"death {number}", stacks=LINE * (MOST_BYTES_IN_MEMORY // 20 // len(LINE)))
    held = len(writer.store.remembered())
    loop.thaw()

    assert 10 < held < 20
    assert count == sum(1 + merged for _, merged in writer.read())
    assert f"death {count - 1}" == writer.read()[-1][0]
    assert {f"death {number}" for number in range(count)} == {title for title, _ in writer.kept}


def test_the_lock_of_who_is_owed_reports_is_ours(loop: Loop, tmp_path: Path) -> None:
    """It outlives the process that took it, and ends with the last report that is owed."""
    first, second = (Pending(tmp_path, "/app", loop.disk.do) for _ in range(2))
    (tmp_path / "r1.json").write_text("{}")
    first.note("r1", ["ops"])
    loop.turn()
    answers: list[Any] = []
    second.left(answers.append)
    loop.turn()
    first.done("r1", lambda: None)
    first.note("r1", ["pager"])
    loop.turn()
    first.done("r1", lambda: None)
    loop.turn()

    assert [{}] == answers
    assert {"r1.json", "pipe"} == {path.name for path in tmp_path.iterdir()}


def test_the_end_waits_no_longer_than_it_may(loop: Loop, tmp_path: Path) -> None:
    """What is left then is written by a process that outlives us."""
    writer = Writer(loop, tmp_path / "crashes")
    loop.disk.do(loop.hang)
    writer.add("last")
    loop.disk.finish(0.05)
    until(writer.read, "the report")

    assert [("last", 0)] == writer.read()


def test_an_arbiter_counts_what_may_not_wait(tmp_path: Path) -> None:
    """Beyond a hundred the newest stands for the oldest, and for those that stood for others."""
    store = Store(tmp_path / "crashes", most=2 * _MOST)
    refused = iter([OSError("no process")] * (_MOST + 5))

    def fork() -> int:
        for refusal in refused:
            raise refusal
        return os.fork()

    aside = Aside(store, fork)
    for number in range(_MOST + 5):
        aside.keep(new_report("crash", f"death {number}", merged=1))
    aside.finish(10)

    assert _MOST == len(store.all())
    assert 2 * (_MOST + 5) == sum(1 + report["merged"] for report in store.all())
