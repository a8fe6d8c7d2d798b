"""What is refused, and what is said of the server?"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from launcher_redis.ledger import KEPT

from launcher.errors import LockNotObtained, UsageError
from launcher.locks import LockCrowded, LockUnreachable
from support.redis_server import PERSISTENT, RedisServer, running_redis
from support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launcher_redis.lock import RedisLock

SECRET = "hu/nt:er@2"  # noqa: S105 - of servers on loopback, for the length of the tests
# What the how-to tells to allow a user of the lock alone.
RIGHTS = (
    "reset on >{password} resetkeys ~{{asgi-launcher/*}}:* -@all +client|setname +select +info"
    " +config|get +eval +time +get +set +del +pexpire +hget +hset +hdel +hincrby +hkeys +hgetall"
)


@pytest.fixture(scope="module")
def spare() -> Iterator[RedisServer]:
    """Run a server whose settings these tests change."""
    with running_redis() as server:
        yield server


@pytest.fixture
def changed(spare: RedisServer) -> Iterator[Callable[[str, str], None]]:
    """Change a setting of the spare server, until the end of the test."""
    before: dict[str, str] = {}
    with spare.connect() as client:

        def change(name: str, value: str) -> None:
            before.update({name: client.config_get(name)[name]} | before)
            client.config_set(name, value)

        yield change
        for name, value in before.items():
            client.config_set(name, value)
        client.flushall()


@pytest.mark.parametrize(
    "url",
    [
        "redis:",
        "redis://h/orders",
        "redis://h:0",
        "redis://:geheim@h:65536/0",
        "redis://:ge/heim@h:6379/0",
        "redis+unix://",
        "redis+aio://:geheim@h",
    ],
)
def test_what_is_no_address(lock: Callable[..., RedisLock], url: str) -> None:
    """It is refused before anything is opened, with an example and without the password."""
    with pytest.raises(UsageError) as refused:
        lock(1, url)

    assert "redis://user:password@host" in refused.value.cure
    assert "heim" not in f"{refused.value.message} {refused.value.cure}"


def test_an_expiry_that_is_too_short(lock: Callable[..., RedisLock]) -> None:
    """It is refused: a step that has to be killed could still run while another one has the lock."""
    with pytest.raises(UsageError, match="--lock-expiry 6s is too short"):
        lock(1, "redis://h", expiry_s=6.0)


def test_options_of_a_pool_are_no_trouble(lock: Callable[..., RedisLock], redis_server: RedisServer) -> None:
    """A URL that an application uses too may say how its pool behaves; the lock decides that itself."""
    url = f"{redis_server.url()}?socket_timeout=90&health_check_interval=30&max_connections=7&decode_responses=no"
    held = lock(1, url).try_acquire()

    assert held is not None
    held.release()


def test_an_option_that_nobody_knows(lock: Callable[..., RedisLock], redis_server: RedisServer) -> None:
    """It is refused and named."""
    with pytest.raises(UsageError, match="sokcet_timeout"):
        lock(1, f"{redis_server.url()}?sokcet_timeout=9").try_acquire()


def test_a_wrong_password(lock: Callable[..., RedisLock]) -> None:
    """It is refused, and neither the right one nor the wrong one is in any text."""
    with running_redis(password="geheim") as server:  # noqa: S106 - as SECRET
        contender = lock(1, server.url(password=quote(SECRET, safe="")))
        with pytest.raises(UsageError) as refused:
            contender.try_acquire()
    told = f"{refused.value.message} {refused.value.cure} {contender.where} {contender.look}"

    assert "geheim" not in told
    assert SECRET not in told
    assert quote(SECRET, safe="") not in told


def test_nobody_there(lock: Callable[..., RedisLock]) -> None:
    """It may be tried again; the text has the address and not the password."""
    port = free_port()
    with pytest.raises(LockUnreachable) as refused:
        lock(1, f"redis://:geheim@127.0.0.1:{port}/0").try_acquire()

    assert str(port) in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_too_many_clients(
    lock: Callable[..., RedisLock], spare: RedisServer, changed: Callable[[str, str], None]
) -> None:
    """A server that takes no more clients has no room for us now, and is asked less often; later it has."""
    contender = lock(1, spare.url())
    usual = contender.poll_s
    changed("maxclients", "1")
    with pytest.raises(LockCrowded):
        contender.try_acquire()
    assert contender.poll_s > usual
    changed("maxclients", "10")
    held = contender.try_acquire()

    assert held is not None
    assert contender.poll_s == usual
    held.release()


def test_a_server_without_memory(
    lock: Callable[..., RedisLock], spare: RedisServer, changed: Callable[[str, str], None]
) -> None:
    """It has no room for us now; what was begun before can be given back, and is not recorded."""
    first, second = lock(1, spare.url()), lock(2, spare.url(), namespace="other")
    held = first.try_acquire()
    record = first.ledger.begin("seed", "r1")
    changed("maxmemory", "1")

    with pytest.raises(LockCrowded):
        second.try_acquire()
    with pytest.raises(LockNotObtained, match="was not begun"):
        first.ledger.begin("seed", "r2")
    with pytest.raises(LockNotObtained, match="exit code 0, but that could not be recorded"):
        first.ledger.finish(record, "done", exit_code=0, tail="")
    assert held is not None
    held.confirm()
    held.release()


def test_a_replica(lock: Callable[..., RedisLock], spare: RedisServer) -> None:
    """It is refused with its primary's name: what it is told is forgotten."""
    with running_redis("--replicaof", "127.0.0.1", str(spare.port), "--replica-read-only", "no") as replica:
        with pytest.raises(UsageError, match="is a replica") as refused:
            lock(1, replica.url()).try_acquire()

        assert "127.0.0.1" in refused.value.cure


def test_a_primary_that_becomes_a_replica(lock: Callable[..., RedisLock], spare: RedisServer) -> None:
    """Who waits on it is refused: it was the right server when the connection was opened."""
    with running_redis() as demoted, demoted.connect() as client:
        waiter = lock(1, demoted.url())
        assert waiter.holder() is None
        client.replicaof("127.0.0.1", str(spare.port))

        with pytest.raises(UsageError, match="replica"):
            waiter.try_acquire()


def test_a_cluster(lock: Callable[..., RedisLock]) -> None:
    """A node of a cluster is refused."""
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))  # the default may be above 65535
    with running_redis(*options) as node, pytest.raises(UsageError, match="Redis Cluster"):
        lock(1, node.url()).try_acquire()


def test_a_key_of_somebody_else(lock: Callable[..., RedisLock], redis_server: RedisServer) -> None:
    """Another kind of value in our place is not taken for a lock, and stays as it is."""
    contender = lock(1)
    with redis_server.connect() as client:
        client.rpush(contender.keys[0], "x")
        with pytest.raises(UsageError, match="WRONGTYPE"):
            contender.try_acquire()

        assert client.lrange(contender.keys[0], 0, -1) == ["x"]


def test_a_user_with_few_rights(lock: Callable[..., RedisLock], spare: RedisServer) -> None:
    """The rights that the how-to names are enough, and INFO is one of them."""
    url = f"redis://lock:geheim@127.0.0.1:{spare.port}/3"
    with spare.connect() as client:
        client.execute_command("ACL", "SETUSER", "lock", *RIGHTS.format(password="geheim").split())  # noqa: S106 - as SECRET
        contender = lock(1, url)
        held = contender.try_acquire()
        assert held is not None
        held.say_step("seed")
        contender.ledger.finish(contender.ledger.begin("seed", "r1"), "done", exit_code=0, tail="")
        records, holder = contender.ledger.records(), contender.holder()
        held.confirm()
        held.release()
        client.execute_command("ACL", "SETUSER", "lock", "-info")
        with pytest.raises(UsageError, match="info"):
            contender.try_acquire()

    assert [record.state for record in records] == ["done"]
    assert holder is not None
    assert holder.step == "seed"


def test_what_kind_of_lock_it_is(lock: Callable[..., RedisLock]) -> None:
    """The warning says what can give it to two, and what to take for migrations; before it has looked, too."""
    warning = lock(1, "redis://h").warning

    assert "fail-over" in warning
    assert "FLUSHALL" in warning
    assert "for migrations take the lock of the database" in warning


def test_what_a_server_forgets(
    lock: Callable[..., RedisLock], spare: RedisServer, changed: Callable[[str, str], None]
) -> None:
    """A server that keeps nothing is told apart from one that does, and a policy that evicts is named."""
    changed("maxmemory", "100mb")
    changed("maxmemory-policy", "volatile-lru")
    forgetful = lock(1, spare.url())
    forgetful.holder()
    with running_redis(*PERSISTENT) as server:
        keeping = lock(2, server.url())
        keeping.holder()
        keeping.close()

    assert "keeps nothing over a restart" in forgetful.warning
    assert "volatile-lru" in forgetful.warning
    assert "this server" not in keeping.warning
    assert "maxmemory-policy" not in keeping.warning


def test_the_ledger_stays_small(lock: Callable[..., RedisLock]) -> None:
    """Of one step the newest records are kept; another step's only record is not pushed out, and tokens go on."""
    ledger = lock(1).ledger
    ledger.finish(ledger.begin("once", "ever"), "done", exit_code=0, tail="")
    for number in range(KEPT + 5):
        ledger.finish(ledger.begin("seed", f"r{number}"), "done", exit_code=0, tail="")
    kept = [record for record in ledger.records() if record.step == "seed"]

    assert [record.key for record in kept] == [f"r{number}" for number in range(5, KEPT + 5)]
    assert kept[-1].token == KEPT + 5
    assert ledger.read("once", "ever") is not None


def test_steps_are_told_apart(lock: Callable[..., RedisLock]) -> None:
    """A step whose name begins with another's, or looks like a list, has records and tokens of its own."""
    ledger = lock(1).ledger
    tokens = [ledger.begin(step, "r").token for step in ("seed", "seed2", 'seed", "x', "seed", "*", "é")]

    assert tokens == [1, 1, 1, 2, 1, 1]


def test_another_version_s_record(lock: Callable[..., RedisLock], redis_server: RedisServer) -> None:
    """It is not guessed at."""
    contender = lock(1)
    contender.ledger.begin("seed", "r1")
    with redis_server.connect() as client:
        client.hset(contender.keys[1], 'record:["seed", "r2"]', '{"schema": 2}')

    with pytest.raises(UsageError, match="cannot be read"):
        contender.ledger.records()
