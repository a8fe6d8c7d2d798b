"""Does everybody who asks the pool for something get one answer?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from launcher.channel import Channel, pair
from launcher.errors import ExitCode
from launcher.monitor.control import PATIENCE_S, Control

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Scene:
    """A pool's end of a channel, and who asks over it."""

    server: Channel
    monitor: Channel
    now: float = 0.0
    outcomes: list[tuple[int, str]] = field(default_factory=list)
    control: Control = field(init=False)

    def __post_init__(self) -> None:
        self.control = Control(self.monitor, lambda: self.now)

    def ask(self, name: str) -> None:
        """Ask, and keep what is answered."""
        self.control.ask({"ask": name}, lambda code, because: self.outcomes.append((code, because)))

    def hear(self) -> None:
        """Let the monitor hear what the pool has said."""
        for message in self.monitor.receive():
            self.control.hear(message)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Return a new channel and both its ends."""
    first, second = pair()
    made = Scene(Channel(first), Channel(second))
    yield made
    made.server.close()
    made.monitor.close()


def test_answers_find_their_asks(scene: Scene) -> None:
    """Two asks are answered in another order, each by its number; what nobody asked for is dropped."""
    scene.ask("reload")
    scene.ask("scale")
    asked = scene.server.receive()
    for message in (
        {"event": "launcher.pool_reloading"},
        {"answer": 1, "code": 0, "because": "another's"},
        {"answer": asked[1]["id"], "code": 0, "because": ""},
        {"answer": asked[1]["id"], "code": 9, "because": "twice"},
        {"answer": asked[0]["id"], "code": 3, "because": "it cannot be imported"},
    ):
        scene.server.send(message)
    scene.hear()

    assert ["reload", "scale"] == [message["ask"] for message in asked]
    assert [(0, ""), (3, "it cannot be imported")] == scene.outcomes


def test_a_server_that_is_gone_answers_all(scene: Scene) -> None:
    """Whoever waits learns of the end of the server, and whoever asks then learns it at once."""
    scene.ask("reload")
    scene.server.close()
    scene.hear()
    scene.control.look()
    scene.ask("stop")

    assert [(ExitCode.BUG, "the server is gone")] * 2 == scene.outcomes


def test_a_server_that_does_not_listen_is_not_waited_for(scene: Scene) -> None:
    """With the channel full, the ask is answered at once."""
    while scene.monitor.send({"event": "x" * 1000}):
        pass
    scene.ask("reload")

    assert [(ExitCode.BUG, "the server does not listen")] == scene.outcomes


def test_patience_ends(scene: Scene) -> None:
    """An ask that is never answered is given up after an hour, and its late answer is dropped."""
    scene.ask("recycle")
    number = scene.server.receive()[0]["id"]
    scene.now = PATIENCE_S - 1
    scene.control.look()
    before = list(scene.outcomes)
    scene.now = PATIENCE_S + 1
    scene.control.look()
    scene.server.send({"answer": number, "code": 0, "because": ""})
    scene.hear()

    assert [] == before
    assert [(ExitCode.BUG, "no answer within 3600 s")] == scene.outcomes


def test_numbers_are_not_those_of_a_monitor_before(scene: Scene) -> None:
    """The answer to an ask of a monitor that has died is not taken for one to its successor's."""
    scene.ask("reload")
    successor = Control(scene.monitor)
    successor.ask({"ask": "reload"}, lambda *_: None)
    first, second = (message["id"] for message in scene.server.receive())

    assert first != second
