"""Does every report reach somebody who keeps it, whoever does not listen?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.channel import MOST_BYTES, Channel, pair
from launcher.incidents.outbox import DELIVERED_WITHIN_S, KEPT_WITHIN_S, MOST, Outbox
from launcher.incidents.report import new_report
from launcher.incidents.store import Store
from launcher.serving.aside import Aside
from launcher.serving.incidents import Incidents
from support.play import Play, playing
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Correspondence:
    """An outbox, the monitor's end of its channel, the folder beside it, and a clock that is told the time."""

    folder: Path
    now: float = 0.0
    outbox: Outbox = field(init=False)
    monitor: Channel = field(init=False)
    store: Store = field(init=False)
    ours: Channel = field(init=False)

    def __post_init__(self) -> None:
        ours, theirs = pair()
        self.ours, self.monitor, self.store = Channel(ours), Channel(theirs), Store(self.folder, 2 * MOST)
        self.outbox = Outbox(self.ours, self.store, lambda: self.now)

    def send(self, title: str = "a title", **facts: Any) -> str:
        """Send a report and return its id."""
        report = new_report("crash", title, **facts)
        self.outbox.send(report)
        return str(report["id"])

    def read(self) -> list[dict[str, Any]]:
        """Return the reports that have come to the monitor."""
        return [message["incident"] for message in self.monitor.receive()]

    def hear(self) -> None:
        """Let the outbox have what the monitor says."""
        for message in self.ours.receive():
            self.outbox.hear(message)

    def pass_time(self, seconds: float) -> None:
        """Look once a second."""
        for _ in range(round(seconds)):
            self.now += 1
            self.outbox.look()


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Correspondence]:
    """A correspondence with nobody at the other end yet."""
    made = Correspondence(tmp_path / "crashes")
    yield made
    made.ours.close()
    made.monitor.close()


def test_kept_and_delivered(post: Correspondence) -> None:
    """A report is pending until the plugins have it; what the monitor keeps is not kept here."""
    number = post.send()
    (report,) = post.read()
    states = [(post.outbox.unkept, post.outbox.pending)]
    for word in ("kept", "delivered"):
        post.outbox.hear({word: number})
        states.append((post.outbox.unkept, post.outbox.pending))
    post.pass_time(10)

    assert number == report["id"]
    assert [(True, True), (False, True), (False, False)] == states
    assert [] == post.store.all()


def test_nobody_answers(post: Correspondence) -> None:
    """After two seconds it is kept here, and sent on for the plugins until somebody takes it."""
    number = post.send()
    post.pass_time(1)
    early = post.store.all()
    post.pass_time(KEPT_WITHIN_S)
    kept = [report["id"] for report in post.store.all()]
    post.pass_time(6)

    assert [] == early
    assert [number] == kept
    assert len([report for report in post.read() if report["id"] == number]) > 1
    assert post.outbox.pending


def test_no_monitor(tmp_path: Path) -> None:
    """Without a channel it is kept at once, and nothing is pending."""
    store = Store(tmp_path)
    outbox = Outbox(None, store)
    outbox.send(new_report("crash", "a title"))

    assert 1 == len(store.all())
    assert not outbox.pending


def test_another_monitor(post: Correspondence) -> None:
    """What the first had read and not kept is sent again."""
    number = post.send()
    first = post.read()
    post.pass_time(1)

    assert [number] == [report["id"] for report in first] == [report["id"] for report in post.read()]


def test_a_burst(post: Correspondence) -> None:
    """Fifty large reports all arrive as they are read, and leave room for events meanwhile."""
    numbers = [post.send(stacks="x" * 70 + "\n" + "frame\n" * 9000) for _ in range(50)]
    room = [post.ours.send({"event": "launcher.worker_died"})]
    arrived: list[str] = []
    while len(arrived) < len(numbers) and (messages := post.monitor.receive()):
        for message in messages:
            if "incident" in message:
                arrived.append(message["incident"]["id"])
                post.outbox.hear({"kept": arrived[-1]})
        room.append(post.ours.send({"event": "launcher.worker_died"}))

    assert numbers == arrived
    assert all(room)


def test_too_many(post: Correspondence) -> None:
    """Beyond the bound the oldest are counted in the newest: none is missed without a word."""
    for number in range(MOST + 60):
        post.send(f"death {number}")
    post.pass_time(3)
    kept = post.store.all()

    assert (MOST, 60) == (len(kept), post.outbox.merged)
    assert 60 == sum(report["merged"] for report in kept)


def test_a_report_that_is_too_large(post: Correspondence) -> None:
    """It is made to fit."""
    number = post.send(stacks="frame\n" * 100_000, last_log=["x" * 2000] * 10)
    (report,) = post.read()

    assert number == report["id"]
    assert len(report["stacks"]) < MOST_BYTES


def test_waiting_ends(tmp_path: Path) -> None:
    """`wait` returns when all is delivered; without an answer at the deadline, and everything is kept then."""
    ours, theirs = pair()
    channel, monitor, store = Channel(ours), Channel(theirs), Store(tmp_path)
    outbox = Outbox(channel, store)
    report = new_report("step-failed", "a step failed")
    outbox.send(report)
    outbox.wait(0.2)
    silent = [kept["id"] for kept in store.all()]
    monitor.send({"delivered": report["id"]})
    outbox.wait(DELIVERED_WITHIN_S)
    channel.close()
    monitor.close()

    assert [report["id"]] == silent
    assert not outbox.pending


def reap(aside: Aside) -> None:
    """Collect children as a server does, until the writer has ended."""

    def ended() -> bool:
        pid, status = os.waitpid(-1, os.WNOHANG)
        aside.ended(pid, status)
        return bool(pid)

    until(ended, "the end of the writer")


def test_a_process_of_its_own_writes(tmp_path: Path) -> None:
    """What comes while it writes is written by the next one."""
    store = Store(tmp_path / "crashes")
    aside = Aside(store)
    reports = [new_report("crash", f"death {number}") for number in range(3)]
    for report in reports:
        aside.keep(report)
    reap(aside)
    aside.finish(10)

    assert {report["id"] for report in reports} == {report["id"] for report in store.all()}


def test_no_process_to_be_had(tmp_path: Path) -> None:
    """What no process could be made for is written at the end, when there are processes again."""
    store = Store(tmp_path / "crashes")
    answers = iter([BlockingIOError("no more processes")])

    def fork() -> int:
        for refusal in answers:
            raise refusal
        return os.fork()

    aside = Aside(store, fork)
    aside.keep(report := new_report("crash", "a title"))
    refused = store.all()
    aside.finish(10)

    assert [] == refused
    assert [report["id"]] == [kept["id"] for kept in store.all()]


def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """While the writer hangs the server goes on, and ends when it wants to."""
    held = Held(tmp_path / "crashes")
    aside = Aside(held)
    for number in range(3):
        aside.keep(new_report("crash", f"death {number}"))
    aside.finish(0.05)
    os.kill(held.writer(), signal.SIGKILL)
    os.waitpid(-1, 0)

    assert [] == held.all()


class Held(Store):
    """A folder on a disk that hangs."""

    def keep(self, report: object) -> None:  # noqa: ARG002 - the store's signature
        """Say who hangs, and hang."""
        self.folder.mkdir(exist_ok=True)  # type: ignore[union-attr]  # there is one
        (self.folder / "writer").write_text(str(os.getpid()))  # type: ignore[operator]  # as above
        signal.pause()

    def writer(self) -> int:
        """Return who hangs."""
        path = self.folder / "writer"  # type: ignore[operator]  # as above
        return int(until(lambda: path.exists() and path.read_text(), "the writer") or 0)


def unheard(play: Play, channel: Channel) -> None:
    """Have the pool report to a monitor that never answers, and give up."""
    play.pool.voice.incidents = Incidents({}, channel, lambda: play.now)
    play.boots = False
    for pid in list(play.workers):
        play.kill(pid)
    play.run(1)
    while not any(report["kind"] == "crash-loop" for report in heard(play)):
        play.run(0.1)


def heard(play: Play) -> list[dict[str, Any]]:
    """Return the reports that wait."""
    incidents = play.pool.voice.incidents
    return [letter.report for letter in incidents.outbox._letters.values()] if incidents else []  # noqa: SLF001 - see above


@pytest.mark.parametrize("impatient", [False, True], ids=["nobody", "somebody"])
def test_the_end_of_a_pool_waits_for_the_plugins(post: Correspondence, *, impatient: bool) -> None:
    """A pool that gives up waits five seconds until its report is delivered; a TERM ends that at once."""
    with playing() as play:
        unheard(play, post.ours)
        began = play.now
        play.run(1)
        waiting = play.pool.outcome is None
        if impatient:
            play.pool.stop("SIGTERM")
        play.run(20)
        took_s = play.now - began
        kept = heard(play)

    assert waiting
    assert 70 == play.pool.outcome
    assert took_s < 2 if impatient else DELIVERED_WITHIN_S - 0.2 < took_s < DELIVERED_WITHIN_S + 1
    assert "crash-loop" == kept[-1]["kind"]


def test_a_server_that_was_started_by_hand() -> None:
    """It has no folder and no monitor: a report is made, kept in memory, and bothers nobody."""
    incidents = Incidents()
    number = incidents.report("crash", "a title")
    incidents.finish()

    assert number
    assert not incidents.outbox.pending


def test_a_fault_of_ours_in_a_report() -> None:
    """It is logged, and nothing is raised."""
    assert not Incidents().report("no such kind", "a title")
