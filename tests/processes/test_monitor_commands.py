"""Do the commands refuse what the pool could only do otherwise?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.stand_ins import Host

if TYPE_CHECKING:
    from pathlib import Path

    from support.spawning import Launch, Spawner


@pytest.fixture
def host(spawn: Spawner, launch: Launch, tmp_path: Path) -> Host:
    """Return a host where nothing runs."""
    return Host(spawn, launch, tmp_path)


def test_more_workers_than_a_pool_can_have(host: Host) -> None:
    """The pool would take its own limit for it, and the command would say that all is done."""
    most, more = host.run("scale", "128"), host.run("scale", "129")

    assert 1 == most.wait(), most  # nothing runs
    assert 2 == more.wait(), more
    assert "129 is more than a pool can have (128)" in more.stderr


def test_a_stop_that_nobody_hears(host: Host) -> None:
    """A monitor that is stopped or hangs does not keep the command for ever: what it does not say is not waited for."""
    other = host.stand_in(after_s=600)
    deaf = host.run("stop", "--pid", str(other.pid))

    assert 1 == deaf.wait(), deaf
    assert f"the launcher {other.pid} timed out" in deaf.stderr
    assert other.running
