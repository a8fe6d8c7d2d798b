"""Is health_checks.toml read as it is meant, and do its checks decide over readiness?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from launcher_health.plugin import read

from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.monitor import Monitored
    from support.postgresql import PostgreSQL
    from support.redis_server import RedisServer

EVERYTHING = """
[[check]]
database = "$URL"
interval = "1m"

[[check]]
redis = "redis://:${SECRET}@cache"
timeout = 2.5

[[check]]
name = "search"
http = "https://search/health"

[[check]]
tcp = "[::1]:25"

[[check]]
disk = "/data"
free = "1G"

[[check]]
alembic = "alembic.ini"
group = "startup"
"""


def test_every_kind_can_be_written() -> None:
    """With its options and with variables of the environment."""
    checks = {check.name: check for check in read(EVERYTHING, {"URL": "sqlite:///x", "SECRET": "geheim"})}

    assert ["database", "redis", "search", "tcp", "disk", "alembic"] == list(checks)
    assert (60.0, 2.5, "startup") == (checks["database"].interval, checks["redis"].timeout, checks["alembic"].group)


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("check = 1", "nothing in it but"),
        ("[other]", "nothing in it but"),
        ("[[check]\n", "health_checks.toml: "),
        ("[[check]]\nname = 'a'", "check 1: exactly one of"),
        ("[[check]]\ntcp = 'a:1'\nredis = 'b'", "check 1: exactly one of"),
        ("[[check]]\ntcp = 'a:1'\n[[check]]\ntcp = 'a'", "check 2: not HOST:PORT"),
        ("[[check]]\ntcp = 'a:1'\nfree = '1G'", "unknown key 'free'"),
        ("[[check]]\ndatabase = '$NOT_SET'", "the environment variable NOT_SET is not set"),
        ("[[check]]\ndatabase = 1", "1 is no text"),
        ("[[check]]\ntcp = 'a:1'\ninterval = 'often'", "'often' is not a duration"),
        ("[[check]]\ntcp = 'a:1'\ngroup = 'liveness'", "group: 'liveness'"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, because: str) -> None:
    """The file, the number of the check, and what is wrong with it."""
    with pytest.raises(ValueError, match=r"^health_checks\.toml") as caught:
        list(read(text, {}))

    assert because in str(caught.value)


def test_the_checks_decide_over_readiness(
    monitored: Callable[[str], Monitored], postgresql: PostgreSQL, redis_server: RedisServer
) -> None:
    """Database and Redis are well and the third is not: not ready, with its reason and without a password."""
    port = free_port()
    checks = [
        f'database = "{postgresql.url("readiness")}"',
        f'redis = "{redis_server.url()}"',
        f'name = "broker"\nredis = "redis://:verraten@127.0.0.1:{port}"',
    ]
    running = monitored("".join(f"[[check]]\n{check}\n" for check in checks))
    names = ("database", "redis", "broker")
    until(lambda: [running.local(f"/readyz/{name}").status for name in names] == [200, 200, 503], "the results", 30)
    until(lambda: "refused" in running.local("/readyz?verbose").body, "the reason", 30)
    shown = running.local("/readyz?verbose").body

    assert "verraten" not in shown + running.process.stderr
    assert 503 == running.get("/readyz").status


def test_a_mistake_in_the_file_is_not_ready(monitored: Callable[[str], Monitored]) -> None:
    """What was to be checked is not known to be well."""
    running = monitored("[[check]]\ndatabse = 'x'")
    said = running.process.wait_event("launcher.plugin_refused", 30)

    assert "health_checks.toml, check 1: exactly one of" in said["because"]
    assert 503 == running.get("/readyz").status
