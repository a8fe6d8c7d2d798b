"""How are many slow ends of a holder played at the same time?

Each scene is a fleet of its own: a holder at work, two that wait, and something that happens to the holder. Most of a
scene is waiting, for the lock's expiry and the grace, so all scenes of a module are played side by side, once; each
test then looks at one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.fleet import EXPIRY_S, TAKEOVER_S
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from support.fleet import Fleet
    from support.witness import Seen

SLACK_S = 10.0  # this machine may be busy
LONGEST_S = EXPIRY_S + TAKEOVER_S + SLACK_S
WAITERS = ("w1", "w2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What happens to a holder. `step`: words of its step; `prefix`: words before its command."""

    strike: Callable[[Fleet], None]
    step: tuple[str, ...] = ("gate",)
    prefix: tuple[str, ...] = ()
    wake: Callable[[Fleet], None] | None = None  # when somebody else is at work


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a scene ended, by the witness's clock."""

    statuses: dict[str, int]
    runs: list[Seen]
    overlaps: list[tuple[Any, ...]]
    records: list[tuple[str, int, int]]  # state, token, attempt
    struck_at: datetime
    woken_at: datetime | None
    told: str  # all there is to know

    @property
    def attempts(self) -> tuple[Seen, Seen]:
        """The holder's run and its successor's."""
        return self.runs[0], next(run for run in self.runs if run.attempt > 1)


def play(scenes: Mapping[str, Scene], make: Callable[[], Fleet]) -> dict[str, Ended]:
    """Play them side by side, each with a fleet of `make`."""
    fleets = {name: make() for name in scenes}
    struck = {name: _struck(scene, fleets[name]) for name, scene in scenes.items()}
    woken = {name: _taken_over(scene, fleets[name]) for name, scene in scenes.items()}
    return {name: _ended(fleets[name], struck[name], woken[name]) for name in scenes}


def _struck(scene: Scene, fleet: Fleet) -> datetime:
    fleet.step(*scene.step)
    fleet.start_working("holder", prefix=scene.prefix)
    fleet.start_waiting(*WAITERS)
    moment = fleet.witness.now()
    scene.strike(fleet)
    return moment


def _taken_over(scene: Scene, fleet: Fleet) -> datetime | None:
    """Wait for the second attempt, wake the holder, and let all come to their end."""
    try:
        until(lambda: [run for run in fleet.witness.runs() if run.attempt > 1], "the second attempt", LONGEST_S)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{fleet}") from None
    moment = fleet.witness.now()
    if scene.wake is not None:
        scene.wake(fleet)
        fleet.members["holder"].wait()
    fleet.witness.open_gate()
    return moment if scene.wake is not None else None


def _ended(fleet: Fleet, struck_at: datetime, woken_at: datetime | None) -> Ended:
    return Ended(
        statuses=fleet.statuses(),
        runs=fleet.witness.runs(),
        overlaps=fleet.witness.overlaps(),
        records=[(row.state, row.token, row.attempt) for row in fleet.rows()],
        struck_at=struck_at,
        woken_at=woken_at,
        told=str(fleet),
    )
