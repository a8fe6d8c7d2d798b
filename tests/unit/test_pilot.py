"""How many workers does the pool turn out to have room for?

Workers are played, and so are the readings of their memory: what matters is when the pool looks, and what it makes of
what it sees.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from launcher.budget import MIB, Measured
from launcher.errors import ExitCode
from launcher.growth import Growth
from launcher.limits.footprint import Footprint
from launcher.limits.room import Room
from launcher.limits.usage import GroupUsage
from launcher.remembered import keep, recall
from launcher.serving.pool.looks import WARM_REQUESTS, Milestone, Readers
from launcher.serving.pool.pilot import Pilot
from launcher.serving.pool.sizes import as_measured
from launcher.serving.pool.voice import Voice
from launcher.serving.rules import Rules
from support.play import BOOT_S, Play, begun

ARBITER = 1
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
# 40 MiB of an arbiter, 16 of files, 12 of the monitor; a worker of 100 MiB may grow by 25.
BESIDE = 68 * MIB


def room_for(workers: int, each: int = 125 * MIB) -> int:
    """Return the bytes into which so many workers just fit."""
    return BESIDE + workers * each


GROWTH = Growth(
    most_workers=8,
    guessed_workers=3,
    usable_bytes=room_for(8),
    limit_bytes=2048 * MIB,
    limit_source="a test",
    memory=room_for(8),
    is_limited=True,
    is_pilot=True,
)
KNOWN = Measured(
    worker_bytes=100 * MIB,
    shared_bytes=40 * MIB,
    peak_bytes=100 * MIB,
    files_bytes=0,
    shmem_bytes=0,
    source="measured 2026-11-21 by an earlier start",
    provisional=False,
)


class Ears(Voice):
    """Who keeps what the pool says."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def say(self, event: str, **facts: object) -> None:
        """Keep it."""
        self.heard.append((event, facts))

    warn = say


@dataclass
class Scene:
    """A played pool with its pilot. sizes: MiB of the workers by pid, else `size`; None: it cannot be read."""

    play: Play
    growth: Growth
    size: int | None = 100
    sizes: dict[int, int | None] = field(default_factory=dict)
    peak: int = 0
    shmem: int = 0
    room: Room | None = None
    read: list[int] = field(default_factory=list)
    ears: Ears = field(default_factory=Ears)

    def __post_init__(self) -> None:
        self.play.pool.voice = self.ears
        readers = Readers(self.footprint, lambda: [ARBITER], lambda: self.shmem, lambda: self.room)
        self.play.pool.pilot = self.pilot = Pilot(self.growth, readers, lambda: NOON)

    def footprint(self, pid: int) -> Footprint | None:
        """Return what was set for a process; of the arbiter 40 MiB, with the files of all of them."""
        self.read.append(pid)
        size = 40 if pid == ARBITER else self.sizes.get(pid, self.size)
        if size is None:
            return None
        own = size * MIB
        files = 16 * MIB if pid == ARBITER else 0
        kernel = 256 * 1024
        return Footprint(own, own + files - kernel, own + files, own + files + self.peak * MIB, is_exact=True)

    def run(self, seconds: float) -> int:
        """Let time pass; return how many serve."""
        self.play.run(seconds)
        return self.play.ready

    def ask(self, requests: int = WARM_REQUESTS) -> None:
        """Let every worker answer so many."""
        for member in self.play.pool.members:
            member.slot.requests += requests

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the facts of each such event."""
        return [facts for name, facts in self.ears.heard if name == f"launcher.{event}"]

    @property
    def wanted(self) -> int:
        """How many there are to be."""
        return self.play.pool.wanted


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is closed at the end."""
    with ExitStack() as stack:
        yield stack


def scene(stack: ExitStack, growth: Growth = GROWTH, workers: int = 1, **set_up: Any) -> Scene:
    """Return a pool that has just begun."""
    return Scene(stack.enter_context(begun(Rules(workers=workers, growth=growth))), growth, **set_up)


def test_a_pool_that_nobody_knows_grows_in_batches_of_what_is_there(stack: ExitStack) -> None:
    """One serves, then 2, 4 and 8; each batch is ready and looked at before the next."""
    one = scene(stack)
    seen: list[int] = []
    for _ in range(40):
        one.run(0.5)
        seen += [one.wanted] if [one.wanted] != seen[-1:] else []

    assert [1, 2, 4, 8] == seen
    assert one.play.ready == 8
    assert [2, 4, 8] == [facts["wanted"] for facts in one.said("pool_sized")]


def test_it_ends_where_the_memory_ends(stack: ExitStack) -> None:
    """Of eight that the CPUs would allow three fit: that is said with the sum."""
    one = scene(stack, replace(GROWTH, usable_bytes=room_for(3), memory=room_for(3)))

    assert one.run(30) == 3
    assert "3 fit in memory, where 8 would be allowed" == one.said("pool_sized")[-1]["because"]
    assert one.said("pool_sized")[-1]["sum"].endswith("= 3")


def test_one_that_does_not_fit_serves_and_it_is_said(stack: ExitStack) -> None:
    """Nobody is served by no worker."""
    one = scene(stack, replace(GROWTH, usable_bytes=100 * MIB, memory=100 * MIB))

    assert one.run(30) == 1
    assert "not one worker fits" in one.said("budget_doubtful")[0]["because"]


def test_a_batch_larger_than_foreseen_ends_the_growth(stack: ExitStack) -> None:
    """The second worker is twice the first: by that size two fit, so four are never started."""
    one = scene(stack, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.sizes = {102: 200}

    assert one.run(30) == 2
    assert one.play.most == 2


def test_a_batch_much_larger_than_foreseen_is_taken_back(stack: ExitStack) -> None:
    """Of two one has to go, and why is said."""
    one = scene(stack, replace(GROWTH, usable_bytes=room_for(2), memory=room_for(2)))
    one.sizes = {102: 190}

    assert one.run(30) == 1
    assert one.said("pool_sized")[-1]["because"].startswith("the workers have become larger than was foreseen: 1 fits")


def test_a_batch_within_what_was_foreseen_changes_nothing(stack: ExitStack) -> None:
    """A worker that is a fifth larger has grown into the room that was left for it."""
    one = scene(stack, sizes={102: 120})

    assert one.run(30) == 8


def test_after_traffic_the_pool_is_made_smaller(stack: ExitStack) -> None:
    """Eight seemed to fit; with 150 MiB each after their first requests five do."""
    one = scene(stack)
    assert one.run(30) == 8
    one.size = 150
    one.ask()

    assert one.run(30) == 5
    assert (8, 5) == (one.said("pool_sized")[-1]["before"], one.said("pool_sized")[-1]["wanted"])


def test_what_is_measured_is_provisional_until_all_had_requests(stack: ExitStack) -> None:
    """One warm worker is a reason to look, all of them for the last time."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(30)
    assert one.said("worker_measured")[-1]["provisional"]
    next(iter(one.play.pool.members)).slot.requests += WARM_REQUESTS
    one.run(5)
    assert (Milestone.ALL_WARM, True) == (one.pilot.milestone, one.said("worker_measured")[-1]["provisional"])
    one.ask()
    one.run(5)

    assert (Milestone.DONE, False) == (one.pilot.milestone, one.said("worker_measured")[-1]["provisional"])


def test_one_worker_may_get_all_the_traffic(stack: ExitStack) -> None:
    """With as many requests as all would need it stands for all."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(30)
    next(iter(one.play.pool.members)).slot.requests += 2 * WARM_REQUESTS
    one.run(10)

    assert (Milestone.DONE, False) == (one.pilot.milestone, one.said("worker_measured")[-1]["provisional"])


def test_an_idle_pool_is_measured_once(stack: ExitStack) -> None:
    """Without traffic and without a change nobody walks the pages of its workers again."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(30)
    before = len(one.read)
    one.run(3600)

    assert before == len(one.read)


def test_what_was_remembered_is_only_verified(stack: ExitStack) -> None:
    """It begins with the number of the last time; workers that look small before traffic are no reason for more."""
    growth = replace(GROWTH, is_pilot=False, measured=replace(KNOWN, worker_bytes=200 * MIB, peak_bytes=200 * MIB))
    one = scene(stack, growth, workers=4)

    assert one.run(30) == 4
    assert one.play.most == 4


def test_what_was_remembered_is_revised_after_traffic(stack: ExitStack) -> None:
    """Workers that are half of what they were leave room for more, though not for twice: one did have 200 MiB."""
    growth = replace(GROWTH, is_pilot=False, measured=replace(KNOWN, worker_bytes=200 * MIB, peak_bytes=200 * MIB))
    one = scene(stack, growth, workers=4)
    one.run(10)
    one.ask()

    assert one.run(30) == 5


def test_what_was_remembered_may_be_wrong(stack: ExitStack) -> None:
    """Workers that begin larger than the last time make the pool smaller at once."""
    one = scene(stack, replace(GROWTH, is_pilot=False, measured=KNOWN), workers=8)
    one.size = 150

    assert one.run(20) == 5


@pytest.mark.parametrize("when_s", [BOOT_S / 2, BOOT_S + 5])
def test_whoever_scales_has_the_last_word(stack: ExitStack, when_s: float) -> None:
    """Before the first look and during the growth: three it is, also after traffic with larger workers."""
    one = scene(stack)
    one.run(when_s)
    one.play.pool.scale(3)
    one.run(30)
    one.size = 300
    one.ask()

    assert one.run(30) == 3
    assert [] == [facts for facts in one.said("pool_sized") if facts["wanted"] == 3]


def test_a_worker_that_dies_while_it_is_measured_is_looked_at_anew(stack: ExitStack) -> None:
    """Its last look is no measurement; when the worker after it serves there is a whole one."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.sizes = {101: None}
    one.run(BOOT_S + 0.1)
    one.play.kill(101)

    assert one.run(30) == 2
    assert 101 not in {facts["pid"] for facts in one.said("worker_measured")}


def test_a_kill_for_memory_while_it_grows_is_the_answer(stack: ExitStack) -> None:
    """Two were fine, of four the kernel kills one: it is two again, also after traffic."""
    one = scene(stack)
    one.run(BOOT_S * 2 + 1)
    assert one.wanted == 4
    one.play.run_out_of_memory(104)
    one.run(60)
    assert (2, 2) == (one.wanted, one.play.ready)
    assert one.said("pool_sized")[-1]["because"].startswith("the kernel killed a worker for memory")
    one.ask()

    assert one.run(30) == 2


def test_a_kill_for_memory_before_all_had_traffic(stack: ExitStack) -> None:
    """What is loaded with the first request was not in the measurement: half as many, and not more until a reload."""
    one = scene(stack, replace(GROWTH, most_workers=4))
    one.run(30)
    assert one.wanted == 4
    one.play.run_out_of_memory(102)
    one.run(30)
    assert one.wanted == 2
    one.ask()

    assert one.run(60) == 2


def test_a_kill_for_memory_later_changes_no_size(stack: ExitStack) -> None:
    """All were measured after traffic: a worker that grew since is replaced."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(30)
    one.ask()
    one.run(30)
    one.ask()
    one.run(30)
    one.play.run_out_of_memory(102)

    assert one.run(30) == 2


def test_more_than_a_pool_can_have_are_not_tried_for(stack: ExitStack) -> None:
    """Where the scoreboard ends the growth ends."""
    one = scene(stack, replace(GROWTH, most_workers=1000, usable_bytes=room_for(1000), memory=room_for(1000)))
    one.run(60)
    read = len(one.read)
    one.run(60)

    assert (128, read) == (one.wanted, len(one.read))


def test_where_nothing_can_be_read_the_guess_holds(stack: ExitStack) -> None:
    """A pool does not stay at one because the kernel does not tell its size."""
    one = scene(stack, size=None)

    assert one.run(30) == 3
    assert "cannot be read" in one.said("pool_sized")[0]["because"]


def test_a_reload_keeps_the_size_until_there_was_traffic(stack: ExitStack) -> None:
    """The new application is measured anew: smaller at first sight it is no reason for more, after requests it is."""
    one = scene(stack, replace(GROWTH, usable_bytes=room_for(3), memory=room_for(3)))
    assert one.run(30) == 3
    one.size = 50
    one.play.pool.reload()
    assert one.run(60) == 3
    assert one.said("worker_measured")[-1]["worker_bytes"] == 50 * MIB
    one.ask()

    assert one.run(30) == 5


def test_a_reload_during_the_growth_does_not_end_it(stack: ExitStack) -> None:
    """One that has not been measured yet is no size to keep."""
    one = scene(stack)
    one.run(BOOT_S / 2)
    one.play.pool.reload()

    assert one.run(60) == 8


def test_what_is_seen_before_traffic_does_not_replace_what_was_seen_after_it(stack: ExitStack, tmp_path: Path) -> None:
    """The next start would begin with too many; one that is larger all the same does replace it."""
    path = tmp_path / "memory.json"
    keep(path, "a", KNOWN, NOON)
    one = scene(stack, replace(GROWTH, is_pilot=False, measured=KNOWN, remember=str(path), key="a"), workers=8)
    one.size = 50
    one.play.pool.reload()
    one.run(90)
    found = recall(path, "a")
    assert found is not None
    assert (100 * MIB, False) == (found.worker_bytes, found.provisional)
    one.size = 200
    one.play.pool.reload()
    one.run(90)
    found = recall(path, "a")

    assert found is not None
    assert (200 * MIB, True) == (found.worker_bytes, found.provisional)


def test_a_reload_to_something_larger_makes_the_pool_smaller(stack: ExitStack) -> None:
    """What does not fit before traffic will not fit after it."""
    one = scene(stack)
    one.run(30)
    one.size = 300
    one.play.pool.reload()

    assert one.run(90) == 2


def test_the_most_that_a_worker_ever_had_counts(stack: ExitStack) -> None:
    """A peak of twice the size at its start needs the room at each start: half as many."""
    one = scene(stack, peak=100)

    assert one.run(30) == 5


def test_shared_memory_is_taken_from_the_room(stack: ExitStack) -> None:
    """250 MiB in /dev/shm are two workers fewer."""
    one = scene(stack, shmem=250 * MIB)

    assert one.run(30) == 6


def test_with_one_allowed_it_is_measured_and_not_more(stack: ExitStack) -> None:
    """There is nothing to choose."""
    one = scene(stack, replace(GROWTH, most_workers=1, is_pilot=False))

    assert one.run(30) == 1
    assert one.play.most == 1
    assert len(one.said("worker_measured")) == 1


def test_nobody_is_ready_against_more_than_is_wanted_now(stack: ExitStack) -> None:
    """Probes and systemd see one of one, later two of two."""
    one = scene(stack, replace(GROWTH, most_workers=2))
    one.run(BOOT_S + 0.1)
    assert one.play.pool.board.wanted == 1
    one.run(30)

    assert one.play.pool.board.wanted == 2


def test_it_is_remembered_for_the_next_start(stack: ExitStack, tmp_path: Path) -> None:
    """Under the application's key, readable by its user alone; another key finds nothing."""
    path = tmp_path / "memory.json"
    one = scene(stack, replace(GROWTH, most_workers=2, remember=str(path), key="main:app 1"))
    one.run(30)
    found = recall(path, "main:app 1")

    assert found is not None
    assert (100 * MIB, 40 * MIB, True) == (found.worker_bytes, found.shared_bytes, found.provisional)
    assert found.source == "measured 2026-11-22 by an earlier start"
    assert recall(path, "main:app 2") is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_several_applications_in_one_folder_are_remembered(tmp_path: Path) -> None:
    """Sixteen of them, the latest; one that is measured again is the latest."""
    path = tmp_path / "memory.json"
    for number in [*range(16), 0, 16, 17]:
        keep(path, str(number), replace(KNOWN, worker_bytes=(number + 1) * MIB), NOON)
    found = {number for number in range(18) if recall(path, str(number)) is not None}

    assert found == set(range(18)) - {1, 2}
    assert recall(path, "17") == replace(KNOWN, worker_bytes=18 * MIB, source="measured 2026-11-22 by an earlier start")


def test_what_cannot_be_kept_is_no_reason_to_fail(stack: ExitStack, tmp_path: Path) -> None:
    """A file where the folder would be: the pool grows all the same."""
    (tmp_path / ".launcher").touch()
    one = scene(stack, replace(GROWTH, most_workers=2, remember=str(tmp_path / ".launcher" / "memory.json"), key="a"))

    assert one.run(30) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"worker_bytes": 0},
        {"worker_bytes": "much"},
        {"at": "some day"},
        {"peak_bytes": -1},
        {"shared_bytes": float("inf")},
    ],
)
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    """It is a hint: whatever is wrong with it, the next start is a cold one."""
    path = tmp_path / "memory.json"
    keep(path, "a", KNOWN, NOON)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"measured": {"a": content["measured"]["a"] | change}}))

    assert recall(path, "a") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{",
        '{"schema": 2}',
        '{"schema": 2, "measured": {"a": 7}}',
        '{"schema": 1, "measured": {}}',
        "[" * 50_000,
        "x" * 70_000,
    ],
)
def test_a_file_that_is_no_such_file_is_none(tmp_path: Path, text: str) -> None:
    """Half a file, another one's, an empty one."""
    path = tmp_path / "memory.json"
    path.write_text(text)

    assert recall(path, "a") is None


def test_what_crosses_the_exec_arrives() -> None:
    """Through JSON, with the measurement in it."""
    growth = replace(GROWTH, measured=KNOWN, remember="a/memory.json", key="k")

    assert growth == Growth.from_plan(json.loads(json.dumps(growth.crossing())))


def test_what_is_there_once_is_not_counted_with_each_worker() -> None:
    """Two workers that share 100 MiB with a template have 10 each for themselves."""
    worker = Footprint(10 * MIB, 40 * MIB, 120 * MIB, 120 * MIB, is_exact=True)
    template = Footprint(5 * MIB, 50 * MIB, 120 * MIB, 120 * MIB, is_exact=True)
    measured = as_measured([worker, worker], [template], 0, provisional=True)

    assert measured.worker_bytes == 10 * MIB
    assert 90 * MIB < measured.shared_bytes + 16 * MIB < 112 * MIB


def settled(stack: ExitStack, workers: int, growth: Growth = GROWTH) -> Scene:
    """Return a pool of so many that were measured for the last time."""
    one = scene(stack, replace(growth, most_workers=workers))
    one.run(30)
    one.ask(WARM_REQUESTS * workers)
    one.run(30)
    assert (workers, Milestone.DONE) == (one.play.ready, one.pilot.milestone)
    return one


def test_what_comes_into_shared_memory_is_taken_from_the_workers(stack: ExitStack) -> None:
    """60 MiB in /dev/shm are half a worker: one goes within seconds, and comes again when the file has gone."""
    one = settled(stack, 4, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.shmem = 60 * MIB
    fewer = one.run(10)
    because = one.said("pool_sized")[-1]["because"]
    one.shmem = 0

    assert (3, 4) == (fewer, one.run(20))
    assert because == "60 MiB lie in shared memory (/dev/shm, tmpfs): 3 fit in memory, where 4 would be allowed"


def test_a_small_file_in_shared_memory_is_no_reason(stack: ExitStack) -> None:
    """What a library keeps there is not worth the start of a worker."""
    one = settled(stack, 4, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.shmem = 3 * MIB

    assert one.run(30) == 4


def test_workers_that_have_un_shared_are_measured_again_when_asked(stack: ExitStack) -> None:
    """Of four one has 200 MiB now: two of that size fit, the largest goes first, and why it was looked is said."""
    one = settled(stack, 4, replace(GROWTH, usable_bytes=room_for(4), memory=room_for(4)))
    one.sizes = {103: 200}
    answers: list[int] = []
    one.play.pool.remeasure("requests un-share the pages", lambda code, _: answers.append(code))

    assert one.run(10) == 2
    assert [0] == answers
    assert 103 not in one.play.workers
    assert one.said("pool_sized")[-1]["because"].startswith("requests un-share the pages: 2 fit")


def test_whoever_has_scaled_is_not_measured_again(stack: ExitStack) -> None:
    """The number is theirs."""
    one = settled(stack, 2)
    one.play.pool.scale(3)
    one.run(10)
    answers: list[int] = []
    one.play.pool.remeasure("requests un-share the pages", lambda code, _: answers.append(code))

    assert [ExitCode.USAGE] == answers
    assert one.run(10) == 3


def test_a_reload_takes_the_limit_of_now(stack: ExitStack) -> None:
    """What was lowered meanwhile holds for the new code: 80 % of 500 MiB are two workers."""
    one = settled(stack, 4, replace(GROWTH, memory=None))
    one.room = Room(500 * MIB, "lowered", is_limited=True, usage=GroupUsage(0, 0, 0, ""))
    assert one.run(30) == 4
    one.play.pool.reload()

    assert one.run(60) == 2
    assert "500 MiB (lowered)" in one.said("pool_sized")[-1]["sum"]


def test_what_was_given_up_is_not_taken_back_by_the_pilot(stack: ExitStack) -> None:
    """While the pool grows the monitor finds that the limit is near: with that the growth is over."""
    one = scene(stack)
    one.run(BOOT_S * 2 + 1)
    assert one.wanted == 4
    one.play.pool.size.shrink(one.play.pool, 3, None, "pressed", lambda *_: None)
    one.run(30)
    one.ask()

    assert one.run(30) == 3
