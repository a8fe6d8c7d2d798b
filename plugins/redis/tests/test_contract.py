"""Does the Redis lock keep what every lock type promises?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

import pytest

from launcher.locks import Held
from launcher.testing import LockContract
from support.redis_server import RedisServer, running_redis

if TYPE_CHECKING:
    from launcher_redis.lock import RedisLock

PASSWORD = "s3cret-pass"  # noqa: S105 - of a server on loopback, for the length of the tests


class RedisContract(LockContract):
    """What the three ways to a server have in common: URL, contenders, and how a lock is lost."""

    url: str
    server: RedisServer
    make: Callable[..., RedisLock]

    def contender(self, pid: int) -> RedisLock:
        """Return a contender for the test's one lock."""
        return self.make(pid, self.url)

    def other_namespace(self, pid: int) -> RedisLock:
        """Return a contender of another application in the same database."""
        return self.make(pid, self.url, namespace="other")

    def lose(self, held: Held) -> bool:
        """Delete everything, as a person does who thinks that it is a cache."""
        del held
        with self.server.connect() as client:
            client.flushall()
        return True


class TestRedisLock(RedisContract):
    """The lock over TCP, in a server without a password."""

    @pytest.fixture(autouse=True)
    def _with(self, redis_server: RedisServer, lock: Callable[..., RedisLock]) -> None:
        self.server, self.url, self.make = redis_server, redis_server.url(), lock


class TestRedisLockOverASocket(RedisContract):
    """The lock through the server's socket file."""

    @pytest.fixture(autouse=True)
    def _with(self, redis_server: RedisServer, lock: Callable[..., RedisLock]) -> None:
        self.server, self.url, self.make = redis_server, f"redis+unix://{redis_server.socket_path}", lock


@pytest.fixture(scope="module")
def closed_server() -> Iterator[RedisServer]:
    """Run a server that wants a password."""
    with running_redis(password=PASSWORD) as server:
        yield server


class TestRedisLockWithAPassword(RedisContract):
    """The lock in a server that wants a password: nobody is told it."""

    secret: ClassVar[str] = PASSWORD

    @pytest.fixture(autouse=True)
    def _with(self, closed_server: RedisServer, lock: Callable[..., RedisLock]) -> None:
        self.server, self.url, self.make = closed_server, closed_server.url(), lock
        with closed_server.connect() as client:
            client.flushall()
