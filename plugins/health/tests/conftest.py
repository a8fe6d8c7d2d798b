"""What do the plugin's tests get by naming it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import fixtures
from support.monitor import Monitored, handmade, start
from support.postgresql import PostgreSQL, running_postgresql
from support.redis_server import RedisServer, running_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.spawning import Spawner

spawn = fixtures.spawn


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Run a real PostgreSQL server."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run a real Redis server with a password."""
    with running_redis(password="geheim") as server:  # noqa: S106 - protects nothing
        yield server


@pytest.fixture
def monitored(spawn: Spawner, tmp_path: Path) -> Iterator[Callable[[str], Monitored]]:
    """Run a monitor with this plugin, one ready worker, and a `health_checks.toml` of this text."""
    made: list[Monitored] = []
    hooks = [{"who": "asgi-launcher-health", "target": "launcher_health.plugin", "hooks": ["launcher_health_checks"]}]

    def run(text: str) -> Monitored:
        (tmp_path / "health_checks.toml").write_text(text, encoding="utf-8")
        running = start(spawn, handmade(tmp_path, hooks=hooks, listen=[], cwd=str(tmp_path)))
        running.serving()
        made.append(running)
        return running

    yield run
    for one in made:
        one.process.popen.kill()
        one.close()
