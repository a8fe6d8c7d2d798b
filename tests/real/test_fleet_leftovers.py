"""Is what a killed step has left on the server over before anybody else begins?"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = pytest.mark.timeout(120)
# One statement that goes on when its client is dead: it notes its own beginning and end by the server's clock.
STEP = """
import os, pathlib, psycopg
with psycopg.connect(os.environ["WORK_ON"], autocommit=True) as connection:
    pathlib.Path("working").touch()
    connection.execute("INSERT INTO spans VALUES (%s, clock_timestamp())", [os.environ["LAUNCHER_STEP_TOKEN"]])
    connection.execute("DO $$ BEGIN PERFORM pg_sleep(5); UPDATE spans SET ended = clock_timestamp()"
                       " WHERE ended IS NULL; END $$")
"""
TOML = '[[prestart]]\nname = "work"\nrun = ["{python}", "step.py"]\ntimeout = "{timeout}"\n'


def left_by_the_server(launch: Launch, folder: Path, postgresql: PostgreSQL, how: str) -> list[tuple[bool, bool]]:
    """Let one launcher begin, end it in this way, and let the next one begin; return (ended, began after the last)."""
    url = postgresql.url(f"left_{how}")
    with postgresql.connect(f"left_{how}") as connection:
        connection.execute("CREATE TABLE spans (token text, began timestamptz, ended timestamptz)")
    timeout = "1s" if how == "timeout" else "1m"
    (folder / "step.py").write_text(STEP)
    (folder / "launcher.toml").write_text(TOML.format(python=sys.executable, timeout=timeout))
    words = ("prestart", "--release", "r1", "--lock", url, "--lock-expiry", "7s")
    first = launch(*words, cwd=folder, env={"WORK_ON": url})
    until((folder / "working").exists, "the statement", 30)
    if how == "term":
        first.signal(signal.SIGTERM)
    first.wait(30)
    (folder / "launcher.toml").write_text(TOML.format(python=sys.executable, timeout="1m"))
    second = launch(*words, cwd=folder, env={"WORK_ON": url})

    assert 0 == second.wait(60), str(second)
    assert second.event("launcher.orphans_awaited") is not None
    with postgresql.connect(f"left_{how}") as connection:
        return connection.execute(
            "SELECT ended IS NOT NULL, began >= coalesce(lag(ended) OVER (ORDER BY began), began) FROM spans"
        ).fetchall()


@pytest.mark.parametrize("how", ["term", "timeout"])
def test_a_statement_of_a_step_that_was_killed_in_good_order_is_waited_for(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, how: str
) -> None:
    """After TERM and after a step's own timeout the server still works: the next step begins when it has ended."""
    assert [(True, True)] * 2 == left_by_the_server(launch, project({"launcher.toml": ""}), postgresql, how)


def test_a_guard_that_is_stopped_does_not_keep_the_launcher(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL
) -> None:
    """With the lock lost and the guard stopped, the launcher kills the guard and the whole tree: 75, no stray."""
    url = postgresql.url("stopped_guard")
    folder = project({"launcher.toml": '[[prestart]]\nname = "work"\nrun = "touch working; sleep 600"\n'})
    launched = launch("prestart", "--release", "r1", "--lock", url, "--lock-expiry", "7s", cwd=folder)
    until((folder / "working").exists, "the step", 30)
    [guard] = [child for child in psutil.Process(launched.pid).children() if "guard.py" in " ".join(child.cmdline())]
    tree = guard.children(recursive=True)
    os.kill(guard.pid, signal.SIGSTOP)
    with postgresql.connect("stopped_guard") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'asgi-launcher lock%'"
            " AND datname = current_database()"
        )

    assert 75 == launched.wait(30), str(launched)
    assert [] == [process for process in tree if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
