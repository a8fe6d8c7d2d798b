"""What follows from what a trial has told?"""

from __future__ import annotations

import dataclasses

import pytest

from launcher.boot.trials.asking import NO_ANSWER
from launcher.boot.trials.judged import Terms, Trial, compared, judged
from launcher.boot.trials.measure import danger, little_room
from launcher.boot.trials.order import Order, Outcome
from launcher.budget import MIB, Demand, Supply
from launcher.limits.oom import OomCounts
from launcher.limits.room import Room
from launcher.limits.usage import GroupUsage

GROUP = Supply(
    memory_bytes=1000 * MIB,
    memory_source="the group",
    memory_is_limited=True,
    cpus=8.0,
    cpus_source="affinity",
    cpus_are_limited=True,
    platform="container",
)


def terms(*, free: bool = True, refused: bool = False, **demand: object) -> Terms:
    """Return what the sum is made from in a group of 1000 MiB with 8 CPUs."""
    asked = Demand(**demand)  # type: ignore[arg-type]  # each test names its own
    return Terms(demand=asked, supply=GROUP, free=free, refused=refused, path="/")


def told(worker: int, shared: int, *, provisional: bool = False, answers: int = 200, kills: int = 0) -> Outcome:
    """Return what a trial of these sizes in MiB told."""
    sizes = {"worker_bytes": worker * MIB, "shared_bytes": shared * MIB, "peak_bytes": worker * MIB}
    return Outcome(measured={**sizes, "provisional": provisional}, answers={"200": answers}, kills=kills)


def test_the_sum() -> None:
    """80 % of 1000 MiB without 72 shared, 16 of files and 12 of the monitor hold 5 of 100 MiB and a quarter."""
    trial = judged(told(100, 72), terms(), preload=False)

    assert (5, 5) == (trial.fitting, trial.workers)
    assert (600) * MIB == trial.together_bytes
    assert trial.note == "asked 200 times for / (200 x 200)"


def test_preload_keeps_room_for_a_reload() -> None:
    """172 MiB shared are taken twice, and counted once in what is held together."""
    trial = judged(told(20, 172), terms(), preload=True)

    assert (800 - 2 * 172 - 28) // 36 == trial.fitting
    assert trial.is_safe
    assert (200 + 8 * 20) * MIB == trial.together_bytes


def test_what_was_said_is_started() -> None:
    """--workers 7 and an estimate win over what was measured, for what is started and not for what fits."""
    seven = judged(told(100, 72), terms(free=False, workers=7), preload=False)
    sized = judged(told(100, 72), terms(free=False, worker_estimate_bytes=350 * MIB), preload=False)

    assert (5, 7) == (seven.fitting, seven.workers)
    assert seven.note.endswith("7 do not fit")
    assert (5, 2) == (sized.fitting, sized.workers)


def test_a_start_that_a_guess_refuses() -> None:
    """Nothing would be started, and what to say so that it is."""
    trial = judged(told(60, 72), terms(refused=True), preload=False)

    assert 0 == trial.workers
    assert trial.note.endswith("a start needs --worker-memory-estimate 76MiB")


def test_advice_that_would_not_help_is_not_given() -> None:
    """What was measured does not fit beside the guess for the arbiter: then it has to be allowed."""
    small = dataclasses.replace(terms(refused=True), supply=dataclasses.replace(GROUP, memory_bytes=120 * MIB))

    assert judged(told(30, 10), small, preload=False).note.endswith("a start needs --allow-overcommit, or more memory")


def test_a_trial_in_which_the_kernel_has_killed_tells_nothing() -> None:
    """Who was measured last is new, and so smaller than those before: no number is made of that, nor a comparison."""
    trials = compared(
        (judged(told(100, 72), terms(), preload=False), judged(told(9, 20, kills=3), terms(), preload=True))
    )

    assert (True, None, None, None) == (trials[1].failed, trials[1].fitting, trials[1].workers, trials[1].is_safe)
    assert "it was killed for memory: the kernel counts 3 in this group" == trials[1].note


def test_what_was_measured_before_traffic_is_not_compared() -> None:
    """One of both is provisional: what it would save is not known."""
    early = judged(told(20, 152, provisional=True), terms(), preload=True)
    trials = compared((judged(told(100, 72), terms(), preload=False), early))

    assert trials[1].note.startswith("safe; before enough traffic: ")


def test_what_preload_saves() -> None:
    """The difference of what one more costs; only where both were measured."""
    both = compared((judged(told(100, 72), terms(), preload=False), judged(told(20, 152), terms(), preload=True)))
    one = compared((Trial(preload=False, note="no"), judged(told(20, 152), terms(), preload=True)))

    assert both[1].note.startswith("safe, saves 80 MiB a worker; asked")
    assert "saves" not in one[1].note


@pytest.mark.parametrize(
    ("outcome", "note"),
    [
        (Outcome(code=3, why="ValueError: no"), "it did not start (exit code 3): ValueError: no"),
        (Outcome(code=-9), "it was killed for memory, probably"),
        (Outcome(code=3, kills=2), "it was killed for memory: the kernel counts 2 in this group"),
    ],
)
def test_what_told_nothing(outcome: Outcome, note: str) -> None:
    """It is said why, and neither a number nor a word about safety is made up."""
    trial = judged(outcome, terms(), preload=True)

    assert (note, True, None, None) == (trial.note, trial.failed, trial.is_safe, trial.fitting)


def test_little_traffic_is_said() -> None:
    """What was measured before there were enough answers is provisional, and so is its note."""
    outcome = Outcome(measured=told(10, 10, provisional=True).measured, answers={NO_ANSWER: 3})
    trial = judged(outcome, terms(), preload=False)

    assert trial.is_deaf
    assert trial.note == "before enough traffic: asked 3 times for / (3 x no answer)"


def test_both_cross_as_bytes() -> None:
    """An order and an outcome arrive as they were sent; half an outcome is none."""
    order = Order(given={"app": "a:b"}, server_args=("--x",), server="gunicorn", preload=True, folder="/f", path="/")
    outcome = told(10, 10)

    assert order == Order.from_bytes(order.as_bytes())
    assert outcome == Outcome.from_bytes(outcome.as_bytes())
    assert Outcome.from_bytes(outcome.as_bytes()[:-5]) is None


@pytest.mark.parametrize(
    ("limit", "held", "is_limited", "warned"),
    [(1000, 600, True, True), (1000, 400, True, False), (300, 50, True, False), (1000, 900, False, False)],
)
def test_others_in_the_group(limit: int, held: int, is_limited: bool, warned: bool) -> None:  # noqa: FBT001 - a table
    """They are warned of when they leave little; where a kill would take them, too, nothing is tried."""
    room = Room(limit * MIB, "memory.max", is_limited, GroupUsage(held * MIB, 0, 0, "/g"))
    said = little_room(room)

    assert warned == bool(said)
    assert warned == bool(danger(said, OomCounts(group=True)))
    assert "" == danger(said, OomCounts(group=False))
    assert "" == little_room(None)
