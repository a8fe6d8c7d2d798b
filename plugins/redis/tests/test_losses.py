"""When is the lock gone, and who is told?

evidence/locks.md §6, row 36: time to live, SIGSTOP, restart without persistence, FLUSHALL.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from launcher.errors import LockLost
from launcher.locks import LockUnreachable
from support.redis_server import PERSISTENT, RedisServer, running_redis
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launcher_redis.lock import RedisHeld, RedisLock

    from support.launched import Launched
    from support.spawning import Spawner

SHORT = {"expiry_s": 4.0, "kill_grace_s": 0.5}  # as short as the inequality and a busy machine allow
SLACK_S = 5.0  # that machine again
# Takes the lock and begins a step; at the end of its standard input it looks again and wants to record the end.
HOLDER = """
import sys
from pathlib import Path
from launcher.errors import LockLost
from launcher.locks import LockContext, Owner
from launcher_redis.lock import RedisLock

where, expiry_s, kill_grace_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
owner = Owner(host="here", pid=1, release=None)
lock = RedisLock(LockContext(
    where=where, scheme="redis", cwd=Path(), owner=owner, namespace="", expiry_s=expiry_s, kill_grace_s=kill_grace_s
))
held = lock.try_acquire()
record = lock.ledger.begin("seed", "r1")
print("held", flush=True)
sys.stdin.read()
try:
    held.confirm()
    print("ours")
except LockLost:
    print("lost")
print("written" if lock.ledger.finish(record, "done", exit_code=0, tail="") else "not written")
"""


@pytest.fixture
def spare() -> Iterator[RedisServer]:
    """Run a server that a test may end and freeze; nothing in it outlives a restart."""
    with running_redis() as server:
        yield server


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe: what is to be read, what is to be closed by the test."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def taken(lock: RedisLock) -> RedisHeld:
    """Return the lock, which is free."""
    held = lock.try_acquire()
    assert held is not None
    return held


def taken_over(lock: RedisLock) -> RedisHeld:
    """Return the lock as soon as its holder's time is over."""
    found: list[RedisHeld] = []

    def tried() -> bool:
        held = lock.try_acquire()
        found.extend([] if held is None else [held])
        return held is not None

    until(tried, "the end of the holder's time", 20)
    return found[0]


def holding(spawn: Spawner, server: RedisServer, stdin: int) -> Launched:
    """Return a process that has begun a step under the lock and does not ask for it again."""
    words = (server.url().partition(":")[2], str(SHORT["expiry_s"]), str(SHORT["kill_grace_s"]))
    holder = spawn([sys.executable, "-c", HOLDER, *words], stdin=stdin)
    until(lambda: "held" in holder.stdout or not holder.running, "the holder", 30)
    assert holder.running, holder
    return holder


def test_a_silent_holder_loses_it_after_the_expiry(lock: Callable[..., RedisLock]) -> None:
    """With `--lock-expiry 7s` a holder that does not ask has it for seven seconds, and then another one has."""
    first, second = lock(1, expiry_s=7.0), lock(2, expiry_s=7.0)
    started = time.monotonic()
    held = taken(first)
    taken_at = time.monotonic()
    successor = taken_over(second)
    over_at = time.monotonic()

    assert over_at - started >= 7.0
    assert over_at - taken_at < 7.0 + SLACK_S
    with pytest.raises(LockLost):
        held.confirm()
    successor.confirm()
    with pytest.raises(LockLost):
        held.release()
    successor.release()


def test_asking_is_worth_another_expiry(lock: Callable[..., RedisLock], redis_server: RedisServer) -> None:
    """A holder that asks has the lock for a whole expiry from then on."""
    contender = lock(1)
    held = taken(contender)
    with redis_server.connect() as client:
        client.pexpire(contender.keys[0], 5000)
        held.confirm()
        left_ms = client.pttl(contender.keys[0])

    assert 29_000 < left_ms <= 30_000
    held.release()


def test_a_stopped_holder_is_told_when_it_goes_on(
    spawn: Spawner, pipe: tuple[int, int], lock: Callable[..., RedisLock], redis_server: RedisServer
) -> None:
    """A holder that was stopped for longer than the expiry finds it lost and can write nothing over its successor."""
    holder = holding(spawn, redis_server, pipe[0])
    holder.signal(signal.SIGSTOP)
    successor = lock(2, **SHORT)
    held = taken_over(successor)
    record = successor.ledger.begin("seed", "r1")
    holder.signal(signal.SIGCONT)
    os.close(pipe[1])
    assert holder.wait() == 0, holder
    held.confirm()

    assert holder.stdout.split("\n")[1:3] == ["lost", "not written"]
    assert record.token == 2
    found = successor.ledger.read("seed", "r1")
    assert found is not None
    assert (found.state, found.token, found.owner.pid) == ("running", 2, 2)
    held.release()


def test_a_killed_holder_keeps_it_no_longer_than_the_expiry(
    spawn: Spawner, pipe: tuple[int, int], lock: Callable[..., RedisLock], redis_server: RedisServer
) -> None:
    """After a kill -9 the lock is free within the expiry; what was begun says `running`."""
    holder = holding(spawn, redis_server, pipe[0])
    holder.signal(signal.SIGKILL)
    holder.wait()
    killed = time.monotonic()
    successor = lock(2, **SHORT)
    held = taken_over(successor)
    waited_s = time.monotonic() - killed

    assert waited_s < SHORT["expiry_s"] + SLACK_S
    found = successor.ledger.read("seed", "r1")
    assert found is not None
    assert found.state == "running"
    assert found.grace_s == pytest.approx(0.8 + 0.5 + 4 / 15)  # G + K + margin
    held.release()


def test_who_has_lost_it_records_nothing(lock: Callable[..., RedisLock], redis_server: RedisServer) -> None:
    """Without a successor too: the records are written only while the very lock is there."""
    contender = lock(1)
    held = taken(contender)
    record = contender.ledger.begin("seed", "r1")
    with redis_server.connect() as client:
        client.delete(contender.keys[0])

    assert not contender.ledger.finish(record, "done", exit_code=0, tail="")
    with pytest.raises(LockLost):
        contender.ledger.begin("seed", "r2")
    assert [(found.key, found.state) for found in lock(2).ledger.records()] == [("r1", "running")]
    with pytest.raises(LockLost):
        held.release()


def test_everything_is_gone_after_flushall(lock: Callable[..., RedisLock], redis_server: RedisServer) -> None:
    """FLUSHALL gives the lock to the next one at once; the holder is told, and its end is recorded nowhere."""
    first, second = lock(1), lock(2)
    held = taken(first)
    record = first.ledger.begin("seed", "r1")
    with redis_server.connect() as client:
        client.flushall()
    successor = taken(second)

    with pytest.raises(LockLost):
        held.confirm()
    assert not first.ledger.finish(record, "done", exit_code=0, tail="")
    assert second.ledger.records() == []
    successor.release()


def test_a_restart_without_persistence(lock: Callable[..., RedisLock], spare: RedisServer) -> None:
    """It closes the holder's connection, which is told; lock and records are gone for all."""
    first, second = lock(1, spare.url()), lock(2, spare.url())
    held = taken(first)
    first.ledger.finish(first.ledger.begin("seed", "r1"), "done", exit_code=0, tail="")
    watched = held.watched()
    assert watched is not None
    spare.restart()

    assert select.select([watched], [], [], 5)[0] == [watched]
    with pytest.raises(LockLost):
        held.confirm()
    successor = taken(second)
    assert second.ledger.read("seed", "r1") is None
    successor.release()


def test_a_restart_with_persistence(lock: Callable[..., RedisLock]) -> None:
    """The holder loses it with its connection; the others wait for the rest of the expiry, and what is done is done."""
    with running_redis(*PERSISTENT) as server:
        first, second = lock(1, server.url(), **SHORT), lock(2, server.url(), **SHORT)
        held = taken(first)
        first.ledger.finish(first.ledger.begin("seed", "r1"), "done", exit_code=0, tail="")
        held.confirm()
        server.restart()
        with pytest.raises(LockLost):
            held.confirm()
        early = second.try_acquire()
        record = second.ledger.read("seed", "r1")
        successor = taken_over(second)
        successor.release()
        second.close()

    assert early is None
    assert record is not None
    assert record.state == "done"


def test_a_server_that_does_not_answer(lock: Callable[..., RedisLock], spare: RedisServer) -> None:
    """Its silence is bounded, and means for the holder that the lock is lost."""
    contender = lock(1, spare.url(), **SHORT)
    held, started = taken(contender), time.monotonic()
    spare.signal(signal.SIGSTOP)
    with pytest.raises(LockLost):
        held.confirm()
    waited_s = time.monotonic() - started
    spare.signal(signal.SIGCONT)

    assert waited_s < SLACK_S


def test_a_try_whose_answer_was_lost(lock: Callable[..., RedisLock], spare: RedisServer) -> None:
    """The server has carried it out all the same: the next try of the same contender finds that it has the lock."""
    first, second = lock(1, spare.url(), **SHORT), lock(2, spare.url(), **SHORT)
    assert first.holder() is None
    spare.signal(signal.SIGSTOP)
    with pytest.raises(LockUnreachable):
        first.try_acquire()
    spare.signal(signal.SIGCONT)
    until(second.holder, "the try to be carried out")

    assert second.try_acquire() is None
    taken(first).release()
