"""Is a holder that is cut off from the lock's server dead to the world before anybody takes its place?"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from support.fleet import GIVE_UP_S, Fleet, Session, fleet_on
from support.own_postgresql import own_postgresql
from support.partition import own_network
from support.scenes import LONGEST_S, WAITERS, Scene, play
from support.spawning import Spawner
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.partition import Direction, Network
    from support.postgresql import PostgreSQL
    from support.scenes import Ended

pytestmark = pytest.mark.timeout(180)
SLACK_S = 5.0  # this machine may be busy
NAMES = ["both ways", "both ways, right after an answer", "to the holder", "to the server"]
each_scene = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def played(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """Cut the lock's connection of four holders in four ways; the witness is outside of their network."""
    folder = tmp_path_factory.mktemp("partitions")
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(own_network())
        server = stack.enter_context(own_postgresql(network=network))
        spawner = Spawner(folder / "processes")
        stack.callback(spawner.end)

        def make() -> Fleet:
            return stack.enter_context(fleet_on(server, postgresql, spawner, folder, prefix=network.prefix()))

        yield play(scenes(network), make)


def scenes(network: Network) -> dict[str, Scene]:
    """Return the four ways."""
    return {
        "both ways": Scene(strike=cutting(network, "both")),
        "both ways, right after an answer": Scene(strike=cutting(network, "both", at=just_answered)),
        "to the holder": Scene(strike=cutting(network, "to the client")),
        "to the server": Scene(strike=cutting(network, "to the server")),
    }


def cutting(
    network: Network, direction: Direction, at: Callable[[Fleet, Session], None] = lambda *_: None
) -> Callable[[Fleet], None]:
    """Return what cuts the holder off, at a moment."""

    def strike(fleet: Fleet) -> None:
        session = fleet.holder()
        at(fleet, session)
        network.cut(session.client_port, direction)

    return strike


def just_answered(fleet: Fleet, session: Session) -> None:
    """Wait until the server has answered the holder: what it sent is not acknowledged yet."""
    sql = f"SELECT state_change FROM pg_stat_activity WHERE pid = {session.backend}"  # noqa: S608 - a number
    before = fleet.query(sql)
    until(lambda: fleet.query(sql) != before, "an answer")


@each_scene
def test_never_two_at_a_time(played: dict[str, Ended], name: str) -> None:
    """The holder's step is dead soon after the give-up, long before another one begins; one waiter does the work.

    Right after an answer the server's own packet is not acknowledged: then the kernel retransmits for minutes, and
    keepalives do not count (evidence/locks.md, M5).
    """
    ended = played[name]
    first, second = ended.attempts

    assert [] == ended.overlaps, ended.told
    assert (first.seen - ended.struck_at).total_seconds() < GIVE_UP_S + SLACK_S, ended.told
    assert (second.started - ended.struck_at).total_seconds() < LONGEST_S, ended.told
    assert [("done", 2, 2)] == ended.records, ended.told


@each_scene
def test_everybody_comes_to_an_end(played: dict[str, Ended], name: str) -> None:
    """Who was cut off ends with 75, a lost lock, without waiting for the network; the waiters end well."""
    ended = played[name]

    assert {"holder": 75, **dict.fromkeys(WAITERS, 0)} == ended.statuses, ended.told
