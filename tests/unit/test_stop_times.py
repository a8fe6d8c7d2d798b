"""Do the drain delay and the graceful timeout fit between the platform's TERM and its KILL?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.boot.stop_times import ignored_by_bare_servers, stop_times
from support.asked import asked

if TYPE_CHECKING:
    from pathlib import Path

FITTING = {
    "container": (0, 8),
    "kubernetes": (5, 20),
    "heroku": (0, 25),
    "fly": (0, 4),
    "cloud-run": (0, 8),
    "host": (0, 30),
}


@pytest.mark.parametrize(("platform", "times"), FITTING.items())
def test_fitting(tmp_path: Path, platform: str, times: tuple[float, float]) -> None:
    """Without a word of the user both are those of DESIGN §6, and nothing is doubtful."""
    decided = stop_times(asked(tmp_path), platform)

    assert times == (decided.drain_delay.value, decided.graceful_timeout.value)
    assert () == decided.doubts


@pytest.mark.parametrize(
    ("platform", "given", "doubtful"),
    [
        ("container", {"graceful_timeout": "10s"}, False),
        ("container", {"graceful_timeout": "10s", "drain_delay": "1s"}, True),
        ("kubernetes", {"graceful_timeout": "25s"}, False),
        ("kubernetes", {"graceful_timeout": "30s"}, True),
        ("kubernetes", {"graceful_timeout": "30s", "drain_delay": "0"}, False),
        ("heroku", {"drain_delay": "6s"}, True),
        ("fly", {"graceful_timeout": "30s"}, True),
        ("cloud-run", {"drain_delay": "5s"}, True),
        ("host", {"graceful_timeout": "1h"}, False),
    ],
)
def test_a_pair_that_exceeds_the_grace_is_doubtful(
    tmp_path: Path, platform: str, given: dict[str, object], *, doubtful: bool
) -> None:
    """When one of the two is given, their sum is held against what is known of the platform."""
    decided = stop_times(asked(tmp_path, given), platform)

    assert doubtful == bool(decided.doubts)


def test_a_doubt_can_be_followed(tmp_path: Path) -> None:
    """The sentence has both numbers with their origins, the platform's, and what changes it."""
    (doubt,) = stop_times(asked(tmp_path, environ={"LAUNCHER_GRACEFUL_TIMEOUT": "30"}), "kubernetes").doubts

    assert (
        "drain delay 5 s (fits kubernetes) + graceful timeout 30 s (LAUNCHER_GRACEFUL_TIMEOUT) = 35 s, and kubernetes"
        " kills 30 s after the signal to stop (unless terminationGracePeriodSeconds says more; preStop counts too)"
    ) == doubt


@pytest.mark.parametrize("word", ["plain", "reload"])
def test_a_bare_server_does_without_the_pool(tmp_path: Path, word: str) -> None:
    """What only the launcher's pool can do is said to be ignored, and there is no delay."""
    given = {word: True, "drain_delay": "3s", "startup_timeout": "9s", "restart_intensity": "5"}
    settings = asked(tmp_path, given)

    assert 0 == stop_times(settings, "kubernetes").drain_delay.value
    assert ["startup_timeout", "drain_delay", "restart_intensity"] == [
        one.name for one in ignored_by_bare_servers(settings)
    ]


def test_a_pool_ignores_nothing(tmp_path: Path) -> None:
    """With the pool the same settings have their effect."""
    assert () == ignored_by_bare_servers(asked(tmp_path, {"drain_delay": "3s"}))
