"""Does the pool stay below its limit while workers are replaced, added and given up?

Workers are played; each holds 100 MiB from its start on, until it has gone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from launcher.budget import MIB, Supply
from launcher.errors import ExitCode
from launcher.limits.room import Room
from launcher.limits.usage import GroupUsage
from launcher.serving.pool.asks import carry_out
from launcher.serving.pool.space import Space
from launcher.serving.rules import Rules
from support.play import BOOT_S, Ears, Play, begun

pytestmark = pytest.mark.race

EACH, BESIDE = 100 * MIB, 40 * MIB
ONE = EACH + EACH // 4


@dataclass
class Scene:
    """A played pool below a limit."""

    play: Play
    limit: int
    usable: float | int = 1.0
    each: int = EACH
    ears: Ears = field(default_factory=Ears)
    answers: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.play.pool.voice = self.ears
        self.play.pool.space = Space(self.room, lambda _: self.each, self.supply, self.usable)

    def room(self) -> Room:
        """Return what is left below the limit now."""
        held = BESIDE + len(self.play.workers) * EACH
        return Room(self.limit, "a test", is_limited=True, usage=GroupUsage(held, 0, 0, "a test"))

    def supply(self) -> Supply:
        """Return the limit of now."""
        return Supply(self.limit, "a test", True, 8, "a test", True, "container")  # noqa: FBT003 - as it is written

    def answer(self, code: int, because: str) -> None:
        """Keep it."""
        self.answers.append((code, because))

    def ask(self, **message: object) -> None:
        """Ask as the monitor does."""
        carry_out(self.play.pool, message, self.answer)

    def named(self, event: str) -> list[dict[str, Any]]:
        """Return what was said under this name."""
        return [facts for name, facts in self.ears.heard if name == f"launcher.{event}"]

    def least_and_most(self, seconds: float) -> tuple[int, int]:
        """Let time pass; return the fewest that served and the most processes there were meanwhile."""
        self.play.most = len(self.play.workers)
        fewest = self.play.ready
        for _ in range(int(seconds * 10)):
            self.play.run(0.1)
            fewest = min(fewest, self.play.ready)
        return fewest, self.play.most


@pytest.fixture
def scene() -> Iterator[Any]:
    """Make a scene: `scene(workers, limit)`."""
    with ExitStack() as stack:

        def make(workers: int, limit: int, usable: float = 1.0) -> Scene:
            play = stack.enter_context(begun(Rules(workers=workers, graceful_timeout_s=8, restart_intensity=999)))
            play.run(BOOT_S * 2)
            assert play.ready == workers
            return Scene(play, limit, usable)

        yield make


def holding(workers: int) -> int:
    """Return what a pool of so many holds."""
    return BESIDE + workers * EACH


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_where_both_fit_the_new_one_is_first(scene: Any, workers: int) -> None:
    """With room for one more, a reload never has fewer serving than before, and one process more at most."""
    played = scene(workers, holding(workers) + ONE)
    played.play.pool.reload(played.answer)
    fewest, most = played.least_and_most(60)

    assert played.answers == [(0, "")]
    assert (fewest, most) == (workers, workers + 1)
    assert {member.generation for member in played.play.pool.members} == {2}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_where_both_do_not_fit_the_old_one_goes_first(scene: Any, workers: int) -> None:
    """With room for less than one more, a reload never has a process more than before, and one serving fewer."""
    played = scene(workers, holding(workers) + ONE - MIB)
    played.play.pool.reload(played.answer)
    fewest, most = played.least_and_most(60)
    said = played.named("worker_drained_first")

    assert played.answers == [(0, "")]
    assert (fewest, most) == (workers - 1, workers)
    assert {member.generation for member in played.play.pool.members} == {2}
    assert workers == len(said) == played.named("pool_reloaded")[0]["replaced"]
    assert said[0]["because"].startswith("another worker would take 125 MiB, and 124 MiB of ")


def test_a_recycled_worker_goes_first_too(scene: Any) -> None:
    """Its answer comes when its successor is ready, and the log says who that is."""
    played = scene(2, holding(2))
    played.play.pool.recycle(101, "asked", played.answer)
    fewest, most = played.least_and_most(30)

    assert played.answers == [(0, "")]
    assert (fewest, most, played.play.ready) == (1, 2, 2)
    assert played.named("worker_recycled") == [{"pid": 101, "because": "asked", "by": 103}]


def test_new_code_that_cannot_boot_ends_a_reload_that_drains_first(scene: Any) -> None:
    """One worker was given for it; the others still serve, and the answer says that it failed."""
    played = scene(3, holding(3))
    played.play.boots = False
    played.play.pool.reload(played.answer)
    played.play.run(60)

    assert [code for code, _ in played.answers] == [ExitCode.NEVER_READY]
    assert (played.play.ready, played.play.pool.outcome) == (2, None)


def test_a_second_copy_that_does_not_fit_is_refused(scene: Any) -> None:
    """With --preload the new application is imported beside the old one: where that does not fit nothing is begun."""
    played = scene(2, holding(2) + 150 * MIB)
    played.play.copy = 151 * MIB
    played.play.pool.reload(played.answer)
    played.play.run(10)

    ((code, because),) = played.answers
    assert code == ExitCode.NEVER_READY
    assert "there is no room for it: a second copy of the application would take 151 MiB" in because
    assert played.play.started == 2


def test_scaling_up_stays_inside_the_budget(scene: Any) -> None:
    """As many as fit are added; one more is refused, by the part of the limit that may be used, and nothing changes."""
    played = scene(2, holding(10), holding(2) + 2 * ONE)
    played.play.pool.scale(5, played.answer)
    played.play.run(10)
    refused, kept = played.answers.pop(), played.play.ready
    played.play.pool.scale(4, played.answer)
    played.play.run(10)

    assert refused[0] == ExitCode.NO_WORKER_FITS
    assert refused[1].startswith("3 more workers would take 375 MiB, and 250 MiB of 1")
    assert refused[1].endswith("the pool keeps 2")
    assert (kept, played.play.ready, played.answers) == (2, 4, [(0, "")])
    assert [facts["wanted"] for facts in played.named("scale_refused")] == [5]


@pytest.mark.parametrize(("budget", "code"), [(holding(4) + ONE + 60 * MIB, 0), (holding(4) - MIB, 12)])
def test_what_was_allowed_of_a_machine(scene: Any, budget: int, code: int) -> None:
    """A machine with much left, and a size that the pool may have of it: no more than that, as its own counts."""
    played = scene(2, 64 << 30, budget)
    machine = Supply(64 << 30, "MemTotal", False, 8, "a test", True, "host")  # noqa: FBT003 - as it is written
    played.play.pool.space.supply = lambda: machine
    played.play.pool.scale(4, played.answer)
    played.play.run(10)
    ((answered, because),) = played.answers

    assert code == answered
    assert not code or because.startswith(
        "2 more workers would take 250 MiB, and 139 MiB of 439 MiB (--memory) are left"
    )


def test_a_worker_is_given_up_and_taken_back(scene: Any) -> None:
    """The one that was named goes; it is taken back once and not twice. How many are missing is on the board."""
    played = scene(3, holding(3))
    played.ask(ask="shrink", workers=2, pid=102, because="pressed")
    played.play.run(10)
    left, missing = set(played.play.workers), [played.play.pool.board.given_up]
    for _ in range(2):
        played.ask(ask="grow_back", because="there is room")
        played.play.run(10)
        missing.append(played.play.pool.board.given_up)

    assert (left, missing) == ({101, 103}, [1, 0, 0])
    assert [code for code, _ in played.answers] == [0, 0, ExitCode.USAGE]
    assert played.play.ready == 3
    assert (played.named("pool_shrunk"), played.named("pool_grown_back")) == (
        [{"wanted": 2, "before": 3, "because": "pressed"}],
        [{"wanted": 3, "before": 2, "because": "there is room"}],
    )


@pytest.mark.parametrize("wanted", [0, 3, 4, -1])
def test_what_is_no_shrinking_is_refused(scene: Any, wanted: int) -> None:
    """A pool is never made empty, nor larger, for want of memory."""
    played = scene(3, holding(3))
    played.ask(ask="shrink", workers=wanted, pid=None, because="pressed")
    played.play.run(5)

    assert [code for code, _ in played.answers] == [ExitCode.USAGE]
    assert played.play.ready == 3


def test_whoever_scales_has_the_last_word(scene: Any) -> None:
    """What was given up before is forgotten."""
    played = scene(3, holding(9))
    played.ask(ask="shrink", workers=1, pid=None, because="pressed")
    played.play.run(10)
    played.play.pool.scale(2, played.answer)
    played.play.run(10)
    played.ask(ask="grow_back", because="there is room")
    played.play.run(10)

    assert [code for code, _ in played.answers] == [0, 0, ExitCode.USAGE]
    assert played.play.ready == 2


def misfortune(played: Scene, chance: random.Random) -> None:
    """Do one of what may happen to a pool."""
    pool, play = played.play.pool, played.play
    happens = [
        partial(pool.reload, played.answer),
        partial(pool.recycle, max(play.workers), "asked", played.answer),
        partial(played.ask, ask="shrink", workers=pool.wanted - 1, pid=None, because="?"),
        partial(played.ask, ask="grow_back", because="?"),
        partial(pool.scale, pool.wanted + 1, played.answer),
        *(partial(play.kill, member.pid) for member in pool.members.serving[:1]),
    ]
    chance.choice(happens)()


def test_never_above_the_limit_whatever_is_asked(scene: Any) -> None:
    """Reloads, recycles, deaths, shrinking and growing in any order: at no moment is there a process too many."""
    seed = random.randrange(1 << 32)  # noqa: S311 - no secret
    print("seed", seed)  # noqa: T201 - to play it again
    chance = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(20):
        workers = chance.randint(1, 4)
        played: Scene = scene(workers, holding(workers) + chance.choice([0, ONE - 1, ONE]))
        play = played.play
        play.most = 0
        for _ in range(12):
            if play.workers:
                misfortune(played, chance)
            play.run(chance.choice([0.1, 1, 4]))
        play.run(120)

        assert holding(play.most) <= played.limit
        assert (play.pool.outcome, play.ready) == (None, play.pool.wanted)


@pytest.mark.parametrize("workers", [2, 4])
def test_no_second_one_leaves_while_somebody_is_missing(scene: Any, workers: int) -> None:
    """All are due to be replaced, both do not fit, and new ones cannot boot: one is lost, and the others serve."""
    played = scene(workers, holding(workers))
    played.play.boots = False
    for pid in list(played.play.workers):
        played.play.pool.recycle(pid, "max-requests", played.answer)
    fewest, _ = played.least_and_most(120)

    assert (fewest, played.play.pool.outcome) == (workers - 1, None)
    assert played.answers[0][0] == ExitCode.NEVER_READY


@pytest.mark.parametrize("ask", ["reload", "recycle"])
def test_nobody_leaves_for_another_while_a_third_boots(scene: Any, ask: str) -> None:
    """Of two one died: the other serves until its successor does, and what was asked for comes then."""
    played = scene(2, holding(2) + ONE)
    played.play.kill(101)
    played.play.run(1.1)
    assert played.play.pool.members.booting
    if ask == "reload":
        played.play.pool.reload(played.answer)
    else:
        played.play.pool.recycle(102, "asked", played.answer)
    fewest, _ = played.least_and_most(60)

    assert (fewest, played.play.ready) == (1, 2)
    assert played.answers == [(0, "")]


def test_a_reload_fails_with_the_one_that_fills_a_gap(scene: Any) -> None:
    """The new code cannot boot where it was to replace somebody who had died: that is known, and answered."""
    played = scene(2, holding(2))
    played.play.kill(101)
    played.play.run(0.2)
    played.play.boots = False
    played.play.pool.reload(played.answer)
    fewest, _ = played.least_and_most(60)

    assert fewest == 1
    assert [code for code, _ in played.answers] == [ExitCode.NEVER_READY]


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_fewer_are_wanted_while_one_goes_first(scene: Any, workers: int) -> None:
    """The one that leaves is the one too many: nobody else goes, and nobody is started."""
    played = scene(workers, holding(workers))
    played.play.pool.recycle(101, "asked", played.answer)
    played.play.run(0.2)
    assert played.named("worker_drained_first")
    started = played.play.started
    played.ask(ask="shrink", workers=workers - 1, pid=None, because="pressed")
    fewest, _ = played.least_and_most(30)

    assert (fewest, played.play.ready, played.play.started) == (workers - 1, workers - 1, started)
    assert [code for code, _ in played.answers] == [0, 0]


def test_a_reload_is_answered_whatever_else_was_asked_of_its_workers(scene: Any) -> None:
    """One of them waits to be recycled already, and the new code cannot boot: both are told, once."""
    played = scene(2, holding(3) + ONE)
    told: list[tuple[str, int]] = []
    for pid in (101, 102):
        played.play.pool.recycle(pid, "asked", lambda code, _, pid=pid: told.append((f"recycle {pid}", code)))
    played.play.boots = False
    played.play.pool.reload(lambda code, _: told.append(("reload", code)))
    played.play.run(300)
    played.play.boots = True
    played.play.run(120)

    assert ("reload", ExitCode.NEVER_READY) in told
    assert sorted(name for name, _ in told) == ["recycle 101", "recycle 102", "reload"]
    assert not played.play.pool.rolling.busy


def test_a_scale_while_workers_boot(scene: Any) -> None:
    """What those that boot will still take is counted once: a fifth fits beside four that are half there."""
    played = scene(4, holding(5) + 4 * (ONE - EACH) + ONE)
    for pid in list(played.play.workers):
        played.play.kill(pid)
    played.play.run(1.1)
    assert played.play.pool.members.booting
    played.play.pool.scale(5, played.answer)
    played.play.run(20)

    assert (played.answers, played.play.ready) == ([(0, "")], 5)


def test_a_scale_while_one_leaves(scene: Any) -> None:
    """What the one that leaves gives back counts: the pool may have again as many as it had."""
    played = scene(4, holding(4) + ONE - EACH)
    played.ask(ask="shrink", workers=3, pid=None, because="pressed")
    played.play.run(0.1)
    assert len(played.play.workers) == 4
    played.play.pool.scale(4, played.answer)
    played.play.run(20)

    assert played.answers[-1] == (0, "")
    assert (played.play.ready, holding(played.play.most) <= played.limit) == (4, True)


def test_a_limit_that_was_raised_lets_more_in(scene: Any) -> None:
    """The part that is left alone is one of the limit of now: four fifths of 2 GiB."""
    played = scene(2, 400 * MIB)
    played.play.pool.space.memory = None
    played.play.pool.scale(4, played.answer)
    refused = played.answers.pop()
    played.limit = 2048 * MIB
    played.play.pool.scale(4, played.answer)
    played.play.run(20)

    assert refused[0] == ExitCode.NO_WORKER_FITS
    assert (played.answers, played.play.ready) == ([(0, "")], 4)


def test_a_size_that_was_there_is_taken_again_without_a_question(scene: Any) -> None:
    """A reload that wanted two has failed: there are to be as many again as before, and one less than somebody said."""
    played = scene(5, holding(4))
    pool, play = played.play.pool, played.play
    played.ask(ask="shrink", workers=4, pid=None, because="pressed")
    play.run(10)
    before = pool.size.standing(pool)
    pool.scale(2)
    play.run(0.1)
    forgotten = pool.size.given_up
    pool.size.restore(pool, before)
    play.run(20)

    assert (0, 4) == (forgotten, play.ready)
    assert 1 == pool.size.given_up == pool.board.given_up


def test_a_pool_becomes_no_smaller_and_no_larger_while_it_stops(scene: Any) -> None:
    """A reload that fails by then restores nothing."""
    played = scene(2, holding(4))
    before = played.play.pool.size.standing(played.play.pool)
    played.play.pool.scale(1)
    played.play.pool.stop("SIGTERM")
    played.play.pool.size.restore(played.play.pool, before)

    assert 1 == played.play.pool.wanted


def test_a_shrink_is_over_when_there_are_no_more(scene: Any) -> None:
    """One of those that stay has died, and its successor cannot boot: the memory is free, which was what was asked."""
    played = scene(4, holding(4))
    played.play.boots = False
    played.play.kill(101)
    played.play.run(2)
    played.ask(ask="shrink", workers=2, pid=102, because="pressed")
    played.play.run(10)

    assert ([(0, "")], 2) == (played.answers, played.play.ready)


def test_a_shrink_that_was_taken_back_is_answered(scene: Any) -> None:
    """Another number was asked for before the worker had gone."""
    played = scene(3, holding(4))
    played.ask(ask="shrink", workers=2, pid=None, because="pressed")
    played.ask(ask="grow_back", because="there is room")
    played.play.run(10)

    assert [ExitCode.BUG, ExitCode.OK] == sorted((code for code, _ in played.answers), reverse=True)
    assert 3 == played.play.ready


def test_a_reload_of_a_size_that_was_said_keeps_what_was_given_up(scene: Any) -> None:
    """Somebody has said three, and there is room for two: new code changes neither."""
    played = scene(3, holding(4))
    played.ask(ask="shrink", workers=2, pid=None, because="pressed")
    played.play.run(10)
    played.play.pool.reload(played.answer)
    played.play.run(60)

    assert [0, 0] == [code for code, _ in played.answers]
    assert (2, 1) == (played.play.ready, played.play.pool.size.given_up)


def test_nothing_is_refused_by_a_size_that_nobody_knows(scene: Any) -> None:
    """Where the workers' memory cannot be read, and nothing is left, there is no sum to refuse by."""
    played = scene(2, holding(1))
    played.each = 0
    played.play.pool.scale(3, played.answer)
    played.play.run(20)

    assert played.answers == [(0, "")]
