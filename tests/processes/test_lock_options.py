"""Is it said what a lock has no use for, what was meant, and who holds it?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.alembic_projects import alembic_project
from support.commands import toml
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.mariadb import MariaDB
    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Launch

SEED = toml('name = "seed"\nrun = "true"')
ONCE = toml('name = "seed"\nrun = "true"\nonce_per = "database"')
HOLD = """
[[prestart]]
name = "hold"
run = "touch begun; while [ ! -e go ]; do sleep 0.05; done"
"""
SET = {"LAUNCHER_LOCK_EXPIRY": "20s", "LAUNCHER_LEDGER_TABLE": "records", "LAUNCHER_ORPHANS": "wait"}


def ignored(launched: Launched) -> list[tuple[str, str]]:
    """Return what was said to have no effect, with its origin."""
    events = [event for event in launched.events if event["event"] == "launcher.setting_ignored"]
    return sorted((event["name"], event["origin"]) for event in events)


def made(folder: Path, launch: Launch, *words: str, **environ: str) -> Launched:
    """Return a start of the steps that went well."""
    launched = launch("prestart", *words, cwd=folder, env=environ)

    assert 0 == launched.wait(), launched
    return launched


@pytest.mark.parametrize(
    "lock", [(), ("--lock", "file"), ("--lock", "sqlite:///app.db")], ids=["auto", "file", "sqlite"]
)
def test_a_file_has_no_use_for_them(launch: Launch, project: MakeProject, lock: tuple[str, ...]) -> None:
    """Expiry, table and orphans that were set are said, each once and with where, by a start and by `plan`."""
    folder = project({"launcher.toml": SEED})
    plan = launch("plan", "--json", *lock, cwd=folder, env=SET)
    said = [(name.removeprefix("LAUNCHER_").lower(), name) for name in SET]

    assert 0 == plan.wait(), plan
    assert sorted(said) == ignored(made(folder, launch, *lock, **SET))
    assert sorted(said) == [(one["name"], one["origin"]["where"]) for one in json.loads(plan.stdout)["ignored"]]
    assert [] == ignored(made(folder, launch, *lock, "--release", "r2"))


def test_a_server_has(launch: Launch, project: MakeProject, postgresql: PostgreSQL, mariadb: MariaDB) -> None:
    """PostgreSQL uses all of them; MySQL cannot tell a dead holder's statements."""
    folder = project({"launcher.toml": SEED})
    first = made(folder, launch, "--lock", postgresql.url("options"), **SET)
    second = made(folder, launch, **{"DATABASE_URL": mariadb.url("options")} | SET)

    assert [] == ignored(first)
    assert [("orphans", "LAUNCHER_ORPHANS")] == ignored(second)


@pytest.mark.parametrize(
    ("lock", "meant"), [("files", "file"), ("atuo", "auto"), ("postgresq://h/db", "postgresql"), ("zookeeper", "")]
)
def test_what_was_meant(launch: Launch, project: MakeProject, lock: str, meant: str) -> None:
    """A misspelt lock is refused with the nearest word that there is, if one is near."""
    launched = launch("prestart", "--lock", lock, cwd=project({"launcher.toml": SEED}))

    assert 2 == launched.wait()
    assert (f"did you mean '{meant}'?" in launched.stderr) == bool(meant)
    assert ("did you mean" in launched.stderr) == bool(meant)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_schema_that_is_not_there(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, mariadb: MariaDB, kind: str
) -> None:
    """`--ledger-table nosuch.x`: nothing is begun, and the cure is the statement that makes the schema."""
    url = postgresql.url("no_schema") if kind == "postgresql" else mariadb.url("no_schema")
    launched = launch("prestart", "--lock", url, "--ledger-table", "nosuch.x", cwd=project({"launcher.toml": SEED}))

    assert 2 == launched.wait(), launched
    assert "CREATE SCHEMA" in launched.wait_event("launcher.start_failed")["cure"]
    assert launched.event("launcher.step_started") is None


def test_the_reason_is_one_sentence(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """A database without migrations: why is told without the statement that found it out."""
    url = postgresql.url("fresh", "psycopg")
    launched = made(project(alembic_project()), launch, DATABASE_URL=url)
    because = launched.wait_event("launcher.step_found_due")["because"]

    assert 'nothing has been migrated yet: relation "alembic_version" does not exist' == because


@pytest.mark.parametrize("words", [("--lock", "postgresql://app@127.0.0.1:1/x"), ()], ids=["asked", "auto"])
def test_a_database_out_of_reach_is_told_once(launch: Launch, project: MakeProject, words: tuple[str, ...]) -> None:
    """`check` with several steps whose records are there: one error, of the lock; the steps cannot tell."""
    folder = project({"launcher.toml": SEED + toml('name = "more"\nrun = "true"'), "main.py": "app = print\n"})
    launched = launch("check", *words, cwd=folder, env={"DATABASE_URL": "postgresql://app@127.0.0.1:1/x"})

    assert 69 == launched.wait(), launched
    assert 1 == launched.stderr.count("error: "), launched
    assert ["failed", "tell", "tell"] == [
        line.split()[-1] for line in launched.stdout.splitlines() if line.split()[:1] in (["lock"], ["step"])
    ]


@pytest.mark.parametrize("once_per", ["release", "start", "database"])
@pytest.mark.parametrize("kind", ["file", "auto", "postgresql"])
def test_waiters_see_the_release(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL, kind: str, once_per: str
) -> None:
    """Without `--release` it is the hash of the source, whichever way the lock was chosen; the record names it too."""
    url = postgresql.url("seen_release")
    lock, environ = ("auto", {"DATABASE_URL": url}) if kind == "auto" else (url if kind == "postgresql" else "file", {})
    folder = project({"launcher.toml": f'{HOLD}once_per = "{once_per}"\n'})
    holder = launch("prestart", "--lock", lock, cwd=folder, env=environ)
    until((folder / "begun").exists, "the step", 20)
    waiter = launch("prestart", "--lock", lock, cwd=folder, env=environ)
    told = waiter.wait_event("launcher.lock_busy")["holder"]
    seen = launch("lock", "--json", "--lock", lock, cwd=folder, env=environ)
    codes = [seen.wait()]
    (folder / "go").touch()
    codes += [holder.wait(), waiter.wait()]

    release = holder.wait_event("launcher.release_found")["release"]
    assert [0, 0, 0] == codes
    assert f" pid {holder.pid}, release {release}, step 'hold'" in told
    assert {release} == {one["owner"]["release"] for one in json.loads(seen.stdout)["records"]}


def test_nothing_to_do_hashes_nothing(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """What is recorded as done for the database is found done without the release of the source."""
    folder = project({"launcher.toml": ONCE})
    url = postgresql.url("no_hash")
    first, second = (made(folder, launch, "--lock", url) for _ in range(2))

    assert first.event("launcher.release_found") is not None
    assert second.event("launcher.step_skipped") is not None
    assert second.event("launcher.release_found") is None
