"""What do the plugin's tests get by naming it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from launcher_redis.lock import RedisLock

from launcher.locks import LockContext, Owner
from support import fixtures
from support.redis_server import RedisServer, running_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

spawn = fixtures.spawn


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """Run one server for all tests that do it no harm."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """Return the shared server with empty databases."""
    with shared_redis.connect() as client:
        client.flushall()
    return shared_redis


@pytest.fixture
def lock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., RedisLock]]:
    """Make contenders, `lock(1)`, `lock(2)`, closed after the test; without a URL for the shared server."""
    made: list[RedisLock] = []

    def make(pid: int, url: str = "", **more: Any) -> RedisLock:
        server: RedisServer | None = None if url else request.getfixturevalue("redis_server")
        scheme, _, rest = (server.url() if server is not None else url).partition(":")
        owner = Owner(host="here", pid=pid, release=None)
        more = {"namespace": ""} | more
        made.append(RedisLock(LockContext(where=rest, scheme=scheme, cwd=tmp_path, owner=owner, **more)))
        return made[-1]

    yield make
    for one in made:
        one.close()
