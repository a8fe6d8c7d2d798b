"""Does the monitor keep what is reported, and is it told to whom it should be?"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.cli import crash_page
from launcher.incidents.report import KINDS, new_report
from launcher.monitor.connection import Reply, Request
from launcher.monitor.control import Control
from launcher.monitor.crashes import Crashes
from launcher.monitor.health import Health
from launcher.monitor.last_words import last_words
from launcher.monitor.metrics import INCIDENTS
from launcher.monitor.pending import Pending
from launcher.monitor.processes import Processes
from launcher.monitor.routes import Routes
from launcher.monitor.samples import Samples, usage_of_group
from launcher.monitor.telling import MOST, Telling
from launcher.monitor.view import Boot, View
from launcher.scoreboard import Board, BoardState, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from launcher.monitor.disk import Job, Then

MIB = 1 << 20


def at_once(job: Job, then: Then | None = None, late: object = None, *, fd: int = -1) -> None:
    """Do it here, with a folder that answers: who does it otherwise is the subject of test_monitor_disk.py."""
    done = job()
    if then is not None:
        then(done)


@dataclass
class Scene:
    """A monitor's part that keeps reports; `room`: how many messages the server has room for."""

    folder: Path | None
    now: float = 100.0
    room: int = 1000
    said: list[Mapping[str, Any]] = field(default_factory=list)
    usages: list[int | None] = field(default_factory=lambda: [None])

    def __post_init__(self) -> None:
        self.view = View(Board.create(), lambda: self.now)
        self.samples = Samples(self.view.board, Processes(), lambda: self.usages[-1], lambda: self.now)
        plan = {"incidents": {"folder": str(self.folder or ""), "because": "" if self.folder else "read-only"}}
        self.crashes = Crashes(plan, self.view, self.samples, self._say, at_once)

    def _say(self, message: Mapping[str, Any]) -> bool:
        if len(self.said) >= self.room:
            return False
        self.said.append(message)
        return True

    def hear(self, **facts: Any) -> dict[str, Any]:
        """Let a report be heard, and return it."""
        report = new_report("crash", "worker 1 died", verdict="killed", **facts)
        self.crashes.hear({"incident": report})
        return report

    def found(self, number: str) -> dict[str, Any]:
        """Return the report with this id."""
        answers: list[Any] = []
        self.crashes.find(number, answers.append)
        return dict(answers[0] or {})

    def listed(self) -> dict[str, Any]:
        """Return what `/crashes` shows."""
        answers: list[dict[str, Any]] = []
        self.crashes.listed(answers.append)
        return answers[0]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Return one with a folder."""
    return Scene(tmp_path / "crashes")


def test_a_report_is_kept_before_anybody_is_told(scene: Scene) -> None:
    """Its sender hears where it is, and, there being no plugin, that all have it; it is in the list and by itself."""
    report = scene.hear(pid=7)
    path = scene.folder / f"{report['id']}.json" if scene.folder else None

    assert [{"kept": report["id"], "path": str(path)}, {"delivered": report["id"]}] == scene.said
    assert "worker 1 died" == json.loads(path.read_text())["title"] if path else False
    assert [(report["id"], 7)] == [(one["id"], one["pid"]) for one in scene.listed()["crashes"]]
    assert Counter(crash=1) == scene.view.incidents
    assert "worker 1 died" == scene.crashes.last["title"]


def test_a_report_that_is_sent_again_is_the_same(scene: Scene) -> None:
    """Who has not heard from us hears it again; it is counted once."""
    report = scene.hear()
    first = list(scene.said)
    scene.crashes.hear({"incident": report})

    assert [{"kept": report["id"]}, {"delivered": report["id"]}] == scene.said[len(first) :]
    assert Counter(crash=1) == scene.view.incidents


def test_without_a_folder_it_is_kept_in_memory() -> None:
    """Its sender hears why; it can be asked for."""
    scene = Scene(None)
    report = scene.hear()

    assert {"kept": report["id"], "because": "read-only"} == scene.said[0]
    assert "worker 1 died" == scene.found(report["id"])["title"]
    assert "read-only" == scene.listed()["because"]


GARBAGE: Sequence[Any] = (
    *({}, [], "text", None, 7, {"id": 7}, {"id": ""}, {"id": "../../etc/passwd"}, {"id": "a/b"}, {"id": "x" * 100}),
    {"id": "r1", "memory": 7, "stacks": ["no text"], "last_log": "no list", "number": "one", "at": 7, "kind": [1]},
    {"id": "r2", "memory": {"samples": 7, "group": "x"}, "evidence": {"no": "list"}, "title": "x" * 2_000_000},
    {"id": "20261122T134501.123456Z-4f2a9c", "in_flight": 7, "versions": 1, "kind": None},
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=map(str, range(len(GARBAGE))))
def test_garbage_does_no_harm(scene: Scene, garbage: object) -> None:
    """Whatever is called a report: nothing is raised or written elsewhere, and the next one is kept."""
    scene.crashes.hear({"incident": garbage})
    report = scene.hear()
    listed = scene.listed()["crashes"]
    pages = [crash_page.page(one) for one in scene.crashes.store.all()]

    assert report["id"] in [one["id"] for one in listed]
    assert len(pages) == len(listed) <= 2
    assert [crash_page.row(one)[0] for one in listed] == [one["id"] for one in listed]


def test_answers_wait_for_room(scene: Scene) -> None:
    """What a server that does not read has no room for is said later, in order."""
    scene.room = 1
    first, second = scene.hear(), scene.hear()
    scene.room = 1000
    scene.crashes.look()
    heard = [(word, said[word]) for said in scene.said for word in ("kept", "delivered") if word in said]

    assert [(word, report["id"]) for report in (first, second) for word in ("kept", "delivered")] == heard


def test_a_report_says_what_was_used_before(scene: Scene) -> None:
    """The last five samples of the worker with their age, though its slot is another's now, and the group's peak."""
    slot = scene.view.board.slot(0)
    slot.clear(generation=1, number=4)
    slot.pid, slot.stage = os.getpid(), Stage.READY
    scene.view.facts["memory"] = {"limit_bytes": 9 * MIB}
    for usage in (1, 2, 8, 7, 1, 1, 1):
        scene.usages.append(usage * MIB)
        scene.samples.look()
        scene.now += 1
    slot.clear(generation=1, number=5)
    scene.samples.look()
    memory = scene.found(scene.hear(number=4)["id"])["memory"]

    assert [5, 4, 3, 2, 1] == [sample["age_s"] for sample in memory["samples"]]
    assert all(sample["private_bytes"] > MIB for sample in memory["samples"])
    assert {"usage_bytes": 7 * MIB, "limit_bytes": 9 * MIB} == memory["group"]


def test_what_its_sender_knows_better_stays(scene: Scene) -> None:
    """Samples and group of a report are not replaced."""
    known = {"samples": [{"age_s": 1, "private_bytes": 2, "shared_bytes": 3}], "group": {"usage_bytes": 5}}
    kept = scene.found(scene.hear(memory=known)["id"])

    assert {**known, "counters": {}} == kept["memory"]


def test_samples_of_many_workers_take_turns(scene: Scene) -> None:
    """A second looks at some of them only; after a few all were looked at, and who has gone long ago is forgotten."""
    for number in range(1, 71):
        slot = scene.view.board.slot(number - 1)
        slot.clear(generation=1, number=number)
        slot.pid, slot.stage = os.getpid(), Stage.READY
    counts = []
    for _ in range(3):
        scene.samples.look()
        counts.append(sum(bool(scene.samples.of(number)) for number in range(1, 71)))
    for index in range(70):
        scene.view.board.slot(index).free()
    scene.now += 100
    scene.samples.look()

    assert [32, 64, 70] == counts
    assert [] == scene.samples.of(1)


@pytest.mark.parametrize(
    ("mountinfo", "group", "name"),
    [
        ("1 1 0:1 / /cg rw - cgroup2 none rw", "0::/a/b", "cg/a/memory.current"),
        ("1 1 0:1 / /cg rw - cgroup none rw,memory", "3:memory:/a", "cg/a/memory.usage_in_bytes"),
    ],
)
def test_the_usage_of_the_group(tmp_path: Path, mountinfo: str, group: str, name: str) -> None:
    """Of v2 and v1, the nearest that tells; None where none does, or what it tells is no number."""
    nothing = usage_of_group(tmp_path)()
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(mountinfo)
    (tmp_path / "proc/self/cgroup").write_text(group)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("4096\n")
    read = usage_of_group(tmp_path)
    told = read()
    (tmp_path / name).write_text("much")

    assert (None, 4096, None) == (nothing, told, read())


def left_to(pending: Pending) -> dict[str, list[str]]:
    """Return what it takes over."""
    answers: list[dict[str, list[str]]] = []
    pending.left(answers.append)
    return answers[0]


def kept(folder: Path, *numbers: str) -> Path:
    """Return a folder with reports of these ids."""
    for number in numbers:
        (folder / f"{number}.json").write_text("{}")
    return folder


def test_what_a_dead_monitor_has_left_is_taken_over_once(tmp_path: Path) -> None:
    """Not as long as it lives, not by another application, by one only; what has no report any more is removed."""
    first = Pending(kept(tmp_path, "r1", "r2", "r3"), "/app", at_once)
    first.note("r1", [])
    first.note("r2", ["ops"])
    first.note("r3", [])
    first.done("r3", lambda: None)
    alive = left_to(Pending(tmp_path, "/app", at_once))
    (tmp_path / "r1.json").unlink()
    first.note("r2", ["ops", "pager"])
    os.close(first._lock or -1)  # noqa: SLF001 - as the kernel does at the end of its process
    other, second, third = (Pending(tmp_path, cwd, at_once) for cwd in ("/other", "/app", "/app"))
    not_its, left, again = left_to(other), left_to(second), left_to(third)
    second.done("r2", lambda: None)

    assert ({}, {}) == (alive, not_its)
    assert ({"r2": ["ops", "pager"]}, {}) == (left, again)
    assert {"r2.json", "r3.json"} == set(os.listdir(tmp_path))  # noqa: PTH208 - names


def test_pending_without_a_folder_is_nothing(tmp_path: Path) -> None:
    """Neither without one, nor with one that is not there, nor with notes that are none, anything is raised."""
    (tmp_path / "x.pending").write_text("[" * 10_000)
    (tmp_path / "y.pending").write_text("[]")
    for folder in (None, tmp_path / "gone", tmp_path):
        pending = Pending(folder, "/app", at_once)
        assert {} == left_to(pending)
        pending.note("r1", ["ops"])
        pending.done("r1", lambda: None)


NO_NOTES: list[dict[str, Any]] = [{"owner": ["x"]}, {"owner": "a\0b"}, {"taken_by": 5}, {"taken_by": ["w" * 3000]}]


@pytest.mark.parametrize("wrong", NO_NOTES, ids=["list", "null", "number", "long"])
def test_what_is_no_note_is_left_alone(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Whoever has put it there: the notes beside it are taken over."""
    first = Pending(kept(tmp_path, "r1", "r2"), "/app", at_once)
    for number in ("r1", "r2"):
        first.note(number, ["ops"])
    path = tmp_path / "r2.pending"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    os.close(first._lock or -1)  # noqa: SLF001 - as the kernel does at the end of its process

    assert {"r1": ["ops"]} == left_to(Pending(tmp_path, "/app", at_once))


def test_a_note_that_is_a_pipe_or_a_link(tmp_path: Path) -> None:
    """Nobody waits for who writes into the one; what the other leads to is neither read nor written."""
    (tmp_path / "file").write_text("mine")
    for name in ("r1.pending", ".r2.pending"):
        os.mkfifo(tmp_path / name)
    (tmp_path / ".r3.pending").symlink_to(tmp_path / "file")
    pending = Pending(kept(tmp_path, "r1", "r2", "r3"), "/app", at_once)
    left = left_to(pending)
    for number in ("r2", "r3"):
        pending.note(number, ["ops"])

    assert ({}, "mine") == (left, (tmp_path / "file").read_text())
    assert [["ops"]] * 2 == [
        json.loads((tmp_path / f"{name}.pending").read_text())["taken_by"] for name in ("r2", "r3")
    ]


@dataclass
class Book:
    """The reports of `Telling`."""

    delivered_: list[str] = field(default_factory=list)
    without: set[str] = field(default_factory=set)
    strange: dict[str, Any] = field(default_factory=dict)
    hangs: bool = False

    def at_hand(self, number: str) -> Mapping[str, Any] | None:
        """Return a report of an even number, unless it has been removed: half of them are in memory."""
        return None if number in self.without or int(number[1:]) % 2 else self._report(number)

    def find(self, number: str, then: Callable[[Any], None], late: Callable[[], None]) -> None:
        """Find any other one, but for the first time the folder does not answer."""
        if self.hangs:
            self.hangs = False
            late()
        else:
            then(None if number in self.without else self._report(number))

    def _report(self, number: str) -> Mapping[str, Any]:
        return {"id": number, "stacks": "", **self.strange}

    def noted(self, number: str, taken_by: Sequence[str]) -> None:
        """Do nothing."""

    def delivered(self, number: str) -> None:
        """Note it."""
        self.delivered_.append(number)


def test_each_is_told_until_all_have_it() -> None:
    """What a host has no room for is told later, what was told is not told twice, another host is told all anew."""
    book, told = Book(), list[str]()
    telling = Telling(book)

    def send(message: Mapping[str, Any]) -> bool:
        told.append(message["incident"]["id"])
        return len(told) != 2

    for number in ("r1", "r2", "r3"):
        telling.add(number)
    telling.tell(send)
    telling.tell(send)
    first = list(told)
    telling.taken("r1", "ops", ["ops", "pager"])
    telling.taken("r1", "pager", ["ops", "pager"])
    telling.taken("r9", "pager", ["pager"])
    telling.anew()
    telling.tell(send)

    assert ["r1", "r2", "r2", "r3"] == first
    assert ["r2", "r3"] == told[len(first) :]
    assert (["r1"], 2) == (book.delivered_, len(telling))


def test_too_many_and_removed_ones_are_given_up() -> None:
    """The oldest, and what is kept no more, are counted as lost, and nobody waits for them."""
    book = Book(without={"r5"})
    telling = Telling(book)
    for number in range(MOST + 3):
        telling.add(f"r{number}")
    telling.tell(lambda _: True)
    lost = (telling.lost, list(book.delivered_))
    telling.settle(["ops"])
    before = len(telling)
    telling.settle([])

    assert (4, ["r0", "r1", "r2", "r5"]) == lost
    assert (MOST - 1, 0) == (before, len(telling))


@pytest.mark.parametrize("strange", [{"stacks": 5, "x": "y" * 70_000}, {"x": ["y"] * 70_000}], ids=["shape", "size"])
def test_what_is_no_report_is_in_nobodys_way(strange: dict[str, Any]) -> None:
    """A file that somebody else has put there, which no message could hold, is given up."""
    book = Book(strange=strange)
    telling = Telling(book)
    telling.add("r1")
    telling.tell(lambda _: True)

    assert (["r1"], 0, 1) == (book.delivered_, len(telling), telling.lost)


def test_a_folder_that_does_not_answer_is_asked_again() -> None:
    """What is in memory is told meanwhile, and nothing is lost."""
    book, told = Book(hangs=True), list[str]()
    telling = Telling(book)

    def send(message: Mapping[str, Any]) -> bool:
        told.append(message["incident"]["id"])
        return True

    telling.add("r1")
    telling.add("r2")
    telling.tell(send)
    telling.tell(send)

    assert (["r2", "r1"], 0) == (told, telling.lost)


STEERS = "\x1b[31m"
WRONG_NUMBERS: tuple[Any, ...] = (STEERS, math.inf, 10**400, [1], None)


@pytest.mark.parametrize("wrong", WRONG_NUMBERS, ids=[type(one).__name__ for one in WRONG_NUMBERS])
def test_a_report_that_somebody_else_has_written(wrong: Any) -> None:
    """It is shown, and steers no terminal, whatever stands in the place of a number."""
    names = ("age_s", "pid", "merged", "restarts_in_window", "more_in_flight", "at")
    sample = {"private_bytes": wrong, "shared_bytes": wrong, "age_s": wrong}
    memory = {"samples": [sample], "group": {"usage_bytes": wrong, "limit_bytes": wrong}, "counters": {"x": wrong}}
    report = dict.fromkeys(names, wrong) | {"stage": "ready", "memory": memory, "in_flight": [{"age_s": wrong}]}
    shown = [*crash_page.row(report), *(line for _, lines in crash_page.page(report) for line in lines)]

    assert [] == [text for text in shown if "\x1b" in text]


def test_the_last_words(scene: Scene) -> None:
    """How far it is, and the last incident with what it rests on."""
    view = scene.view
    view._boot = Boot("migrate", "another", 1.0)  # noqa: SLF001 - what an event sets
    booting = last_words(view, {}, None)
    view.board.arbiter_pid, view.board.wanted, view.board.state = 1, 2, BoardState.SERVING
    serving = last_words(view, {"at": "2026-01-02T03:04:05Z", "title": "it died", "evidence": ["why", "how"]}, None)
    ended = [last_words(view, {}, code) for code in (0, 70)]

    assert "asgi-launcher: booting, step migrate, waiting for another" == booting
    assert ["asgi-launcher: serving, 0 of 2 workers ready", "last incident: 2026-01-02T03:04:05Z it died"] == (
        serving.splitlines()[:2]
    )
    assert ["  why", "  how"] == serving.splitlines()[2:]
    assert ["asgi-launcher: stopped", "asgi-launcher: gave up, exit code 70"] == ended


def test_reports_are_for_the_owner_only(scene: Scene) -> None:
    """Over the Unix socket there is the list and each report; over TCP as if there were none."""
    control: Any = Control(None)  # type: ignore[arg-type]  # nothing is asked for
    routes = Routes(Health(scene.view), control, dict, lambda: None)
    routes.crashes = scene.crashes
    report = scene.hear()
    replies: list[Reply] = []
    for local in (True, False):
        for path in ("/crashes", f"/crashes/{report['id']}", "/crashes/nothing", "/crashes/"):
            routes(Request("GET", path, local=local), replies.append)

    assert [200, 200, 404, 404, *[404] * 4] == [reply.status for reply in replies]
    assert report["id"] == json.loads(replies[0].body)["crashes"][0]["id"] == json.loads(replies[1].body)["id"]


def test_the_kinds_of_the_metric_are_those_of_reports() -> None:
    """The monitor's copy of the list is the list."""
    assert KINDS == INCIDENTS
