"""Does `launcher lock` tell who holds the lock and what has been done, and change nothing?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.alembic_projects import alembic_project
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Launch

HOLD = """
[[prestart]]
name = "hold"
run = "touch begun; while [ ! -e go ]; do sleep 0.05; done"
"""


def told(launch: Launch, folder: Path, *words: str) -> dict[str, Any]:
    """Return what `launcher lock --json` says."""
    asked = launch("lock", "--json", *words, cwd=folder)

    assert 0 == asked.wait(), str(asked)
    document: dict[str, Any] = json.loads(asked.stdout)
    return document


@pytest.mark.parametrize("kind", ["file", "postgresql"])
def test_holder_and_records(launch: Launch, project: MakeProject, postgresql: PostgreSQL, kind: str) -> None:
    """While a step runs: host, pid, release and step; afterwards the record with how it ended."""
    lock = postgresql.url("lock_command") if kind == "postgresql" else "file"
    folder = project({"launcher.toml": HOLD})
    words = ("--lock", lock, "--release", "r1")
    before = told(launch, folder, *words)
    holder = launch("prestart", *words, cwd=folder)
    until((folder / "begun").exists, "the step", 20)
    during = told(launch, folder, *words)
    (folder / "go").touch()

    assert 0 == holder.wait()
    after = told(launch, folder, *words)
    assert (None, []) == (before["holder"], before["records"])
    assert (holder.pid, "r1") == (during["holder"]["owner"]["pid"], during["holder"]["owner"]["release"])
    assert ("hold", "running") == (during["holder"]["step"], during["records"][0]["state"])
    assert [("hold", "r1", "done", 1, 0)] == [
        (each["step"], each["key"], each["state"], each["attempt"], each["exit_code"]) for each in after["records"]
    ]
    assert kind == after["lock"]["kind"]
    assert after["lock"]["look"]


def test_the_query_shows_the_holder(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """What `launcher lock` calls the way to see it is a statement that finds the holder's session and nobody else."""
    lock = postgresql.url("lock_look")
    folder = project({"launcher.toml": HOLD})
    look = told(launch, folder, "--lock", lock)["lock"]["look"]
    holder = launch("prestart", "--lock", lock, cwd=folder)
    until((folder / "begun").exists, "the step", 20)
    with postgresql.connect("lock_look") as connection:
        found = connection.execute(look).fetchall()
    (folder / "go").touch()

    assert 0 == holder.wait()
    assert [True] == [str(holder.pid) in str(row) for row in found]


def test_looking_changes_nothing(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """`lock`, `plan` and `check` make no table and no file, and take no lock."""
    url = postgresql.url("lock_untouched", "psycopg")
    folder = project(alembic_project() | {"main.py": "async def app(scope, receive, send): ...\n"})
    before = sorted(folder.rglob("*"))
    for words in (("lock",), ("plan",), ("check",)):
        asked = launch(*words, cwd=folder, env={"DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": "1"})
        assert 0 == asked.wait(), str(asked)

    with postgresql.connect("lock_untouched") as connection:
        assert [] == connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'asgi%'").fetchall()
    assert before == [path for path in sorted(folder.rglob("*")) if "__pycache__" not in str(path)]


def test_a_lock_that_is_out_of_reach(launch: Launch, project: MakeProject) -> None:
    """69 in seconds, not after the patience of a start, with the URL's password masked."""
    folder = project({"launcher.toml": HOLD})
    asked = launch("lock", "--lock", "postgresql://app:s3cret@127.0.0.1:1/x", cwd=folder)

    assert 69 == asked.wait(20)
    assert "postgresql://app:***@127.0.0.1:1/x" in asked.stderr
    assert "s3cret" not in asked.stderr
