"""Is it known who sent a SIGKILL, and never said when it is not?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from launcher import procfs
from launcher.limits.oom import OomCounts
from launcher.scoreboard import Board, Stage
from launcher.serving.evidence import Evidence
from launcher.serving.pool.deaths import Death, Judgement
from launcher.serving.pool.killings import WINDOW_S, Killings, OomCounter, Stranger
from launcher.serving.pool.members import Member
from support.play import BOOT_S, Play, playing
from support.waiting import until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="there is a /proc")
WORKERS = (9000101, 9000102, 9000103)  # beyond the largest pid of Linux, 2**22: /proc is looked at

PARENT = """
import subprocess, sys, threading

def carry_out(what):
    code = "import sys; sys.stdin.read()" if what == "hold" else ""
    program = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    if what == "run":
        program.wait()
    print("done", flush=True)

for line in sys.stdin:
    threading.Thread(target=carry_out, args=(line.strip(),)).start()
"""


@dataclass
class Bench:
    """Killings over a counter that can be set, and workers that do not exist."""

    board: Board = field(default_factory=Board.create)
    counts: OomCounts = field(default_factory=lambda: OomCounts(5, 2, source="/memory.events"))
    now: float = 1000.0
    killings: Killings = field(init=False)
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        for index, pid in enumerate(WORKERS):
            slot = self.board.slot(index)
            slot.clear(generation=1, number=index + 1)
            slot.stage = Stage.READY
            self.members.append(Member(pid, slot, Evidence.create(), 1, index + 1, 0.0, ready=True))
        self.killings = Killings(OomCounter(lambda: self.counts), lambda: self.members)

    def kill(self, *pids: int) -> None:
        """These workers are reaped."""
        for member in [member for member in self.members if member.pid in pids]:
            self.members.remove(member)
            self.killings.take(Death.of(member, int(signal.SIGKILL), self.now))

    def count(self, kills: int, oom: int | None = None) -> None:
        """So many kills are counted."""
        met = kills if oom is None else oom
        self.counts = OomCounts((self.counts.kills or 0) + kills, (self.counts.oom or 0) + met, source="/memory.events")

    def look(self, after_s: float = 0.0) -> tuple[dict[int, Judgement], Stranger | None]:
        """Return who is judged by now, by pid."""
        self.now += after_s
        judged, stranger = self.killings.look(self.now)
        return {death.member.pid: judgement for death, judgement in judged}, stranger


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A bench with three workers."""
    made = Bench()
    yield made
    for member in made.members:
        member.evidence.close()
    os.close(made.board.fd)


def test_a_counter_that_did_not_move(bench: Bench) -> None:
    """It was killed, certainly, at once; and nothing is said of memory."""
    bench.kill(9000101)
    judged, stranger = bench.look()

    assert ("killed", "certain", (5, 5)) == (judged[9000101].verdict, judged[9000101].confidence, judged[9000101].kills)
    assert "memory" not in f"{judged[9000101].said} {judged[9000101].evidence}"
    assert stranger is None


def test_a_counter_that_moved(bench: Bench) -> None:
    """It was the kernel, certainly; said when nobody else has died in the same moment."""
    bench.count(1)
    bench.kill(9000101)
    early, _ = bench.look()
    judged, stranger = bench.look(WINDOW_S)

    assert {} == early
    assert ("oom", "certain", (5, 6)) == (judged[9000101].verdict, judged[9000101].confidence, judged[9000101].kills)
    assert stranger is None


def test_two_deaths_and_one_count(bench: Bench) -> None:
    """Each may be the one: probable, and the evidence says of how many, and of which."""
    bench.kill(9000101)
    bench.count(1)
    bench.look()
    bench.kill(9000102)
    judged, _ = bench.look(WINDOW_S)

    assert {9000101, 9000102} == judged.keys()
    for judgement in judged.values():
        assert ("oom", "probable") == (judgement.verdict, judgement.confidence)
        assert "1 of these 2 deaths: 9000101, 9000102" in " ".join(judgement.evidence)


def test_two_deaths_before_and_after_the_count(bench: Bench) -> None:
    """Whoever was dead before it was counted was killed by somebody else."""
    bench.kill(9000101)
    first, _ = bench.look()
    bench.count(1)
    bench.kill(9000102)
    second, _ = bench.look()
    second, _ = bench.look(WINDOW_S)

    assert ("killed", "oom", "certain") == (first[9000101].verdict, second[9000102].verdict, second[9000102].confidence)


def test_two_deaths_and_two_counts(bench: Bench) -> None:
    """Both are certain."""
    bench.count(2)
    bench.kill(9000101, 9000102)
    bench.look()
    judged, _ = bench.look(WINDOW_S)

    assert [("oom", "certain")] * 2 == [(one.verdict, one.confidence) for one in judged.values()]


def test_nobody_can_read_the_counter(bench: Bench) -> None:
    """Nobody knows: at the death, or before it, or when it has become smaller (another group)."""
    known = bench.counts
    for pid, counts in ((9000101, OomCounts()), (9000102, known), (9000103, OomCounts(1, 1))):
        bench.counts = counts
        bench.kill(pid)
        judged, _ = bench.look()

        assert ("unknown", "guess", None) == (judged[pid].verdict, judged[pid].confidence, judged[pid].kills)


def test_a_limit_above(bench: Bench) -> None:
    """With the group's own limit not met it was one above, and that is said."""
    bench.count(1, oom=0)
    bench.kill(9000101)
    bench.look()
    judged, _ = bench.look(WINDOW_S)

    assert "one above" in judged[9000101].evidence[-1]


def test_a_count_and_no_death(bench: Bench) -> None:
    """A process that is no worker was killed; one that we reaped is named. Said once."""
    bench.count(1)
    bench.killings.other(4712)
    bench.look()
    _, stranger = bench.look(WINDOW_S)
    again = bench.look(1)

    assert stranger is not None
    assert (1, (5, 6)) == (stranger.count, stranger.kills)
    assert "4712" in " ".join(stranger.evidence)
    assert ({}, None) == again


def test_more_counts_than_deaths(bench: Bench) -> None:
    """The worker's is certain, and the other one is told, too."""
    bench.count(2)
    bench.kill(9000101)
    bench.look()
    judged, stranger = bench.look(WINDOW_S)

    assert ("oom", 1) == (judged[9000101].verdict, stranger and stranger.count)


def test_a_worker_with_children(bench: Bench) -> None:
    """One of them may have been the kernel's choice: probable."""
    bench.members[1].had_children = True
    bench.count(1)
    bench.kill(9000101)
    bench.look()
    judged, _ = bench.look(WINDOW_S)

    assert ("oom", "probable") == (judged[9000101].verdict, judged[9000101].confidence)
    assert "child processes" in judged[9000101].evidence[-1]


@linux_only
def test_a_worker_whose_child_came_and_went(bench: Bench, parent: Parent) -> None:
    """A child that its worker has collected may have been the kernel's choice; those of before count no more."""
    worker = bench.members[1]
    parent.told("run")
    worker.pid = parent.pid
    for _ in bench.members:
        bench.look(1)
    before = worker.had_children
    parent.told("run")
    bench.count(1)
    bench.kill(9000101)
    bench.look()
    judged, _ = bench.look(WINDOW_S)

    assert not before
    assert ("oom", "probable") == (judged[9000101].verdict, judged[9000101].confidence)
    assert "child processes" in judged[9000101].evidence[-1]


@linux_only
def test_whoever_dies_slowly_is_waited_for(bench: Bench) -> None:
    """A killed worker that is not reaped yet may be the one that was counted; for five seconds, not longer."""
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: procfs.ending(zombie.pid), "its end")
    bench.members[1].pid = zombie.pid
    bench.count(1)
    bench.kill(9000101)
    bench.look()
    waiting, _ = bench.look(1)
    judged, _ = bench.look(5)
    zombie.wait()

    assert {} == waiting
    assert {9000101} == judged.keys()


@linux_only
def test_children_of_any_thread_are_seen(parent: Parent) -> None:
    """A process has one as long as a thread of it runs a program."""
    before = procfs.has_children(parent.pid)
    parent.told("hold")

    assert (False, True) == (before, procfs.has_children(parent.pid))


def test_a_process_that_is_not_there() -> None:
    """Nothing is known of it, and nothing raised."""
    assert not procfs.ending(2**30)
    assert not procfs.has_children(2**30)
    assert procfs.reaped(2**30) is None


class Parent:
    """A process that starts others when it is told to. The tests' own has children that are none of ours."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Tell it over its pipes."""
        self._process, self.pid = process, process.pid

    def told(self, what: str) -> None:
        """Have a thread of it run a program, to its end ("run") or not ("hold"); return when it has."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@pytest.fixture
def parent() -> Iterator[Parent]:
    """Start one; what it holds ends with its pipe."""
    words = [sys.executable, "-c", PARENT]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Parent(process)


@pytest.fixture
def play() -> Iterator[Play]:
    """A pool of four, ready."""
    with playing() as play:
        yield play


def test_no_replacement_before_the_judgement(play: Play) -> None:
    """How long the pool pauses depends on it: while nobody knows nothing is started, and a stop waits for it."""
    play.run_out_of_memory(101)
    play.run(0.05)
    undecided, started = play.pool.inquests.open, play.started
    play.run(BOOT_S + 2)

    assert (True, 4) == (undecided, started)
    assert (4, 5) == (play.ready, play.started)


def test_a_stop_waits_for_the_judgement(play: Play) -> None:
    """The last worker dies while the pool stops: it ends when that is judged."""
    for pid in list(play.workers):
        play.run_out_of_memory(pid)
    play.pool.stop("SIGTERM")
    play.run(5)

    assert 0 == play.pool.outcome
    assert not play.pool.inquests.busy


@linux_only
def test_the_time_a_process_has_had() -> None:
    """What computes has a CPU, as far as there is one; of who is gone nobody knows."""
    before = procfs.cpu_s(os.getpid())
    began = time.process_time()
    until(lambda: time.process_time() - began > 0.1 or sum(range(10**5)) < 0, "a tenth of a second of work")
    after = procfs.cpu_s(os.getpid())

    assert before is not None
    assert after is not None
    assert after - before >= 0.05
    assert procfs.cpu_s(2**22 + 1) is None
