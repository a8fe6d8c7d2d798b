"""Does `wait-for` wait until it is up, and say why not?"""

from __future__ import annotations

import http.server
import socket
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from launcher.errors import UsageError
from launcher.steps.wait_for import WaitForStep
from support.environment import clean_environment
from support.step_context import TestContext, settings
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from launcher.steps import Finished
    from support.postgresql import PostgreSQL
    from support.spawning import Spawner


def wait_for(address: str, folder: Path, timeout_s: float = 10, variables: Mapping[str, str] | None = None) -> Finished:
    """Run a wait-for step to its end."""
    context = TestContext(cwd=folder, environ=clean_environment(folder, "", variables or {}))
    result, _ = context.carry_out(WaitForStep(settings("wait-for", address, timeout_s=timeout_s)))
    assert not any(address in word for word in context.ran[0].argv), "an address may hold a password"
    return result


@contextmanager
def web_server(*statuses: int) -> Iterator[int]:
    """Run an HTTP server that answers with these statuses in turn, then with the last one; yield its port."""
    left = list(statuses)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_port_that_answers_is_up(tmp_path: Path) -> None:
    """One connection is enough."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = wait_for(f"tcp://127.0.0.1:{listener.getsockname()[1]}", tmp_path)

    assert 0 == result.status


def test_a_port_that_comes_up_later_is_waited_for(tmp_path: Path, spawn: Spawner) -> None:
    """The step goes on trying, says why, and ends as soon as somebody listens."""
    port = free_port()
    context = TestContext(cwd=tmp_path, environ={})
    command = WaitForStep(settings("wait-for", f"tcp://127.0.0.1:{port}")).command(context)
    child = spawn(command.argv, stdin=command.stdin.decode())
    until(lambda: "Connection refused" in child.stderr, "the reason")
    with socket.create_server(("127.0.0.1", port)):
        status = child.wait()

    assert 0 == status
    assert child.stderr.startswith(f"waiting for tcp://127.0.0.1:{port}: ")


def test_a_port_that_never_answers_ends_with_69(tmp_path: Path) -> None:
    """The child ends by itself before the step's timeout, with the reason."""
    result = wait_for(f"tcp://127.0.0.1:{free_port()}", tmp_path, timeout_s=1)

    assert 69 == result.status
    assert "was not up within 0.7 s" in result.tail
    assert "Connection refused" in result.tail


def test_69_is_the_launchers_own_code(tmp_path: Path) -> None:
    """A dependency that is down is not a failed step."""
    command = WaitForStep(settings("wait-for", "tcp://h:1")).command(TestContext(cwd=tmp_path, environ={}))

    assert {69: 69} == command.exit_codes


@pytest.mark.parametrize(("statuses", "status"), [((200,), 0), ((302,), 0), ((503, 500, 204), 0), ((404,), 69)])
def test_http_is_up_with_2xx_and_3xx(tmp_path: Path, statuses: tuple[int, ...], status: int) -> None:
    """Errors of the server are waited out."""
    with web_server(*statuses) as port:
        result = wait_for(f"http://127.0.0.1:{port}/health?x=1", tmp_path, timeout_s=10 if status == 0 else 1)

    assert status == result.status, result.tail


def test_a_variable_may_hold_the_address(tmp_path: Path) -> None:
    """`env:NAME` and `$NAME` are filled in from the environment, with what earlier steps exported."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        variables = {"CACHE": f"tcp://127.0.0.1:{port}", "HERE": "127.0.0.1", "CACHE_PORT": port}
        spellings = ("env:CACHE", "$CACHE", "${CACHE}", "tcp://$HERE:${CACHE_PORT}")
        results = [wait_for(spelling, tmp_path, variables=variables).status for spelling in spellings]

    assert [0, 0, 0, 0] == results


def test_a_sqlite_file_is_up_when_it_is_there(tmp_path: Path) -> None:
    """It is never created by the question, and a relative path is the working directory's."""
    missing = wait_for("sqlite:///app.db", tmp_path, timeout_s=1)
    created = (tmp_path / "app.db").exists()
    sqlite3.connect(tmp_path / "app.db").close()
    present = wait_for("sqlite+aiosqlite:///app.db", tmp_path)

    assert (69, False, 0) == (missing.status, created, present.status)


@pytest.mark.parametrize("driver", ["", "+psycopg", "+psycopg2", "+asyncpg"])
def test_postgresql_is_asked_through_the_named_driver(tmp_path: Path, postgresql: PostgreSQL, driver: str) -> None:
    """Every installed driver can wait."""
    url = postgresql.url("waited").replace("postgresql", f"postgresql{driver}", 1)

    assert 0 == wait_for(url, tmp_path).status


def test_an_unknown_database_is_said_and_tried_again(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """Databases come up in stages: the server first, then what is in it. The password is never shown."""
    url = postgresql.url("known").rpartition("/")[0].replace("postgres@", "postgres:s3cretly@") + "/not_yet"
    result = wait_for(url, tmp_path, timeout_s=2)

    assert 69 == result.status
    assert 'database "not_yet" does not exist' in result.tail
    assert "s3cretly" not in result.tail


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
def test_no_reason_shows_a_password(tmp_path: Path, driver: str) -> None:
    """Not in the progress lines and not in the last word."""
    url = f"postgresql+{driver}://user:s3cr%40tly@127.0.0.1:{free_port()}/db"
    result = wait_for(url, tmp_path, timeout_s=1.5)

    assert 69 == result.status
    assert "s3cr" not in result.tail
    assert "user:***@127.0.0.1" in result.tail


@pytest.mark.parametrize(
    "address", ["cache:6379", "tcp://cache", "tcp://cache:x", "redis://cache:6379", "http://", "", 3]
)
def test_an_address_of_no_known_kind_is_refused(address: object) -> None:
    """The table is named, before anything is waited for."""
    with pytest.raises(UsageError, match=r"step 'it'.*launcher\.toml"):
        WaitForStep(settings("wait-for", address))


@pytest.mark.parametrize("address", ["env:NOWHERE", "tcp://$NOWHERE:1", "env:WRONG"])
def test_a_variable_that_is_missing_or_wrong_is_refused(tmp_path: Path, address: str) -> None:
    """The message names the variable's step, and never shows what was in the variable."""
    step = WaitForStep(settings("wait-for", address))
    context = TestContext(cwd=tmp_path, environ={"WRONG": "redis://u:s3cret@h"})

    with pytest.raises(UsageError, match="step 'it'") as caught:
        step.command(context)
    assert "s3cret" not in str(caught.value)
