"""Is a pool left alone by what only looks like a need for fewer workers?

Of a played pool of five with 20 MiB each, in a group of 1024 MiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.errors import ExitCode
from launcher.monitor.yielding import Yielding
from support.memory_scene import MIB, Scene, always, made_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.limits.room import Room
    from launcher.monitor.control import Outcome

LIMIT = 1024


class Slow(Scene):
    """One in which a worker that is taken back is never ready, and one that is recycled does not leave."""

    def ask(self, message: Mapping[str, object], outcome: Outcome) -> None:
        """Carry it out after its own while."""
        self.takes_s = 2 if message["ask"] == "shrink" else 1800
        super().ask(message, outcome)


def pool(size: float = 20) -> Scene:
    """Return one whose workers are old and do not grow."""
    return Scene(lambda _: always(size), workers=5, limit=None, old_s=600)


def test_a_step_that_is_over_is_no_pace() -> None:
    """A neighbour takes 350 MiB at once and no more: at 54 % of the limit nobody has to go."""
    played = pool().run_in_group(LIMIT, lambda now_s: 100 if now_s < 20 else 450, 100)

    assert [] == played.resized


def test_a_spike_now_and_then_costs_no_worker() -> None:
    """Three seconds in five minutes there are 400 MiB more, 59 % of the limit in all: for an hour all five serve."""
    played = pool().run_in_group(LIMIT, lambda now_s: 500 if now_s % 300 < 3 else 100, 3600)

    assert [] == played.resized


def test_another_group_with_less_left_is_no_growth() -> None:
    """Of two groups that have a limit the other one has least left from now on: its need is 1 GB more, and 65 %."""
    played = pool()

    def read() -> Room:
        if played.now < played.begun + 20:
            return made_room(295 * MIB, 1000 * MIB)
        room = made_room(1300 * MIB, 2000 * MIB)
        return type(room)(room.limit_bytes, "the one above", is_limited=True, usage=room.usage)

    played.run_in(read, 60)

    assert [] == played.resized


def test_a_growth_that_does_not_end_keeps_nobody_from_shrinking() -> None:
    """The one that is taken back boots for half an hour: when the need rises meanwhile others go all the same."""
    played = Slow(lambda _: always(120), workers=5, limit=None, old_s=600)
    played.run_in_group(
        LIMIT, lambda now_s: 100 if now_s < 20 else 420 if now_s < 60 else 100 if now_s < 150 else 500, 400
    )
    asked = [what for _, what, _ in played.resized]

    assert "grow_back" in asked
    assert "shrink" in asked[asked.index("grow_back") :]


def test_a_recycle_that_takes_long_is_not_waited_for_above_95_percent() -> None:
    """Its request keeps the old worker for ten minutes, and the need creeps on: another one goes."""
    played = Slow(lambda number: always(180 if number == 1 else 60), workers=4, limit=None, old_s=600)
    played.run_in_group(512, lambda now_s: min(130, 105 + now_s / 4), 160)

    assert 1 == len(played.asked)
    assert played.resized


def test_what_did_not_arrive_is_asked_again() -> None:
    """Nobody listens: it is not asked each second."""
    now, asked = [0.0], []

    def ask(message: Mapping[str, object], outcome: Outcome) -> None:
        asked.append(message)
        outcome(ExitCode.BUG, "the server does not listen")

    yielding = Yielding(ask, lambda: 4, lambda: 0, lambda: None, lambda: now[0])
    for _ in range(30):
        yielding.shrink("it has to be")
        now[0] += 1

    assert 3 == len(asked)


def test_who_was_blind_has_seen_no_room() -> None:
    """For a minute nothing can be read: there has to be room for a minute from then on."""
    played = pool(120)
    read = played.room_of(LIMIT, lambda now_s: 100 if now_s < 20 or now_s >= 30 else 420)

    def seen() -> Room | None:
        return None if 31 < played.now - played.begun < 95 else read()

    played.run_in(seen, 140)
    taken_back = [at for at, what, _ in played.resized if what == "grow_back"]

    assert played.resized
    assert [] == taken_back


def test_one_look_above_95_percent_costs_a_worker_for_minutes_only() -> None:
    """A pool that takes 77 % of its limit, as the sum would have it: what was given up for a moment is there again."""
    played = Scene(lambda _: always(140), workers=5, limit=None, old_s=600)
    played.run_in_group(1024, lambda now_s: 290 if now_s == 20 else 90, 300)

    assert [("shrink", 4), ("grow_back", 5)] == [(what, workers) for _, what, workers in played.resized]
