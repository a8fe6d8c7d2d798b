"""Does each check tell well from unwell, within its time and without a password?"""

from __future__ import annotations

import http.server
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from launcher_health import alembic_at_head, database, disk, redis, tcp
from launcher_health import http as page

from support.alembic_projects import alembic_project
from support.projects import write_project
from support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from launcher import HealthCheck
    from support.postgresql import PostgreSQL
    from support.redis_server import RedisServer


def why(check: HealthCheck) -> str:
    """Return why a check fails; AssertionError when it passes."""
    try:
        check.probe()
    except Exception as error:  # noqa: BLE001 - whatever it raises
        return str(error)
    raise AssertionError(f"{check.name} passes")


@pytest.fixture
def silent() -> Iterator[int]:
    """Listen on a port and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("driver", ["", "psycopg", "psycopg2", "asyncpg"])
def test_a_database_that_answers(postgresql: PostgreSQL, driver: str) -> None:
    """With every driver, and again and again."""
    check = database(postgresql.url("health", driver))
    for _ in range(3):
        check.probe()

    assert ("database", "readiness", 10.0, 5.0) == (check.name, check.group, check.interval, check.timeout)


def test_databases_that_do_not_answer(postgresql: PostgreSQL, silent: int) -> None:
    """Nobody there, nobody who speaks, no such database: each with a reason, none with the password."""
    wrong = postgresql.url("health").replace("postgres@", "postgres:geheim@")
    reasons = [
        why(database(f"postgresql+psycopg://app:geheim@127.0.0.1:{free_port()}/orders")),
        why(database(f"postgresql+psycopg://app:geheim@127.0.0.1:{silent}/orders", timeout=2)),
        why(database(wrong.replace("/health", "/nothing"))),
    ]

    assert all(reasons)
    assert "nothing" in reasons[2]
    assert "geheim" not in str(reasons)


def test_redis(redis_server: RedisServer, silent: int) -> None:
    """A login and a PING, over TCP and over a socket file; a wrong password and silence are failures."""
    redis(redis_server.url()).probe()
    redis(f"redis+unix://:geheim@{redis_server.socket_path}").probe()
    reasons = [
        why(redis(redis_server.url().replace("geheim", "falsch"))),
        why(redis(f"redis://127.0.0.1:{redis_server.port}")),
        why(redis(f"redis://127.0.0.1:{free_port()}")),
        why(redis(f"redis://127.0.0.1:{silent}", timeout=0.3)),
    ]

    assert reasons[0].startswith("WRONGPASS")
    assert reasons[1].startswith("NOAUTH")
    assert "refused" in reasons[2]
    assert "timed out" in reasons[3]
    assert "falsch" not in str(reasons)


class _Page(http.server.BaseHTTPRequestHandler):
    """Answers with the status in the path; 401 without a login."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(int(self.path[1:]) if "Authorization" in self.headers else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def test_http() -> None:
    """2xx and 3xx pass, and a redirect is not followed; the login of the URL is sent and never shown."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        base = f"127.0.0.1:{server.server_port}"
        page(f"http://u:geheim@{base}/204").probe()
        page(f"http://u:geheim@{base}/302").probe()
        reasons = [why(page(f"http://u:geheim@{base}/503")), why(page(f"http://{base}/204"))]
        server.shutdown()
        thread.join()

    assert ["answered with 503", "answered with 401"] == reasons


def test_tcp(silent: int) -> None:
    """Somebody who takes the connection is enough."""
    tcp("127.0.0.1", silent).probe()

    assert "refused" in why(tcp("127.0.0.1", free_port()))


def test_disk(tmp_path: Path) -> None:
    """A size, a share, bytes; a folder that is not there is a failure."""
    for free in ("1K", 1024, "0.001%", 0.00001):
        disk(tmp_path, free).probe()

    assert "less than" in why(disk(tmp_path, "100%"))
    assert "less than" in why(disk(tmp_path, "9000000G"))
    assert "nowhere" in why(disk(tmp_path / "nowhere"))


def test_alembic_at_head(postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the migration it fails and says so; after it, it passes."""
    import subprocess

    monkeypatch.setenv("DATABASE_URL", postgresql.url("health_alembic", "psycopg"))
    folder = write_project(tmp_path / "project", alembic_project())
    monkeypatch.chdir(folder)
    check = alembic_at_head("alembic.ini", group="startup")
    before = why(check)
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=folder, check=True, capture_output=True)
    check.probe()

    assert "head" in before.lower()
    assert ("alembic", "startup", 60.0, 30.0) == (check.name, check.group, check.interval, check.timeout)


IMPOSSIBLE: dict[str, Callable[[], HealthCheck]] = {
    "no Redis": lambda: redis("http://h"),
    "Redis without a port": lambda: redis("redis://:geheim@h:port"),
    "no page": lambda: page("ftp://h"),
    "a page without a port": lambda: page("http://u:geheim@h:port/"),
    "no size": lambda: disk(".", "much"),
    "no name": lambda: tcp("h", 1, name="Not A Name"),
}


@pytest.mark.parametrize("make", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_be_checked_is_refused_at_once(make: Callable[[], HealthCheck]) -> None:
    """When the check is made, not when it runs; without the password."""
    before = time.monotonic()
    with pytest.raises(ValueError, match="not") as caught:
        make()

    assert "geheim" not in str(caught.value)
    assert time.monotonic() - before < 1
