"""Is the lock where all who would do the work meet, and refused where none can be had?"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from support.alembic_projects import SYNC_ENV, alembic_project
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Launch

SEED = '[[prestart]]\nname = "seed"\nrun = "echo seeded >> seeded"\n'
MIGRATE = '[[prestart]]\nname = "migrate"\nalembic = "alembic.ini"\n'
EXPORTS = "export DATABASE_URL=$EXPORTED_URL\n"
KEYED = SYNC_ENV.replace(
    'os.environ.get("DATABASE_URL") or context.config.get_main_option("sqlalchemy.url")', 'os.environ["DATABASE_URL"]'
)
DEAF = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("asked").touch()
time.sleep(600)
"""


def test_a_step_above_the_migrations_keeps_its_record(launch: Launch, project: MakeProject) -> None:
    """With a file lock: what was done once for a release is found done by the next start, which takes no lock."""
    folder = project(alembic_project() | {"launcher.toml": SEED + MIGRATE})
    words = ("prestart", "--lock", "file", "--release", "r1")
    codes = [launch(*words, cwd=folder).wait() for _ in range(2)]
    again = launch(*words, "--prestart", "check", cwd=folder)

    assert [0, 0, 0] == [*codes, again.wait()]
    assert again.event("launcher.lock_acquired") is None
    assert "seeded\n" == (folder / "seeded").read_text()


def test_a_script_may_export_the_database(launch: Launch, project: MakeProject, postgresql: PostgreSQL) -> None:
    """PRE_START_PATH runs before env.py is asked; the migrations then are locked in the database that it exported."""
    url = postgresql.url("exported", "psycopg")
    folder = project(alembic_project(KEYED) | {"prestart.sh": EXPORTS})
    environ = {"PRE_START_PATH": str(folder / "prestart.sh"), "EXPORTED_URL": url}
    launched = launch("prestart", cwd=folder, env=environ)

    assert 0 == launched.wait(), str(launched)
    kinds = [line["kind"] for line in launched.events if line["event"] == "launcher.lock_acquired"]
    assert ["file", "postgresql"] == kinds


def test_records_of_another_server_are_not_mistaken(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL
) -> None:
    """A lock elsewhere in a database of the same name: a database that is new is seeded again."""
    lock = postgresql.url("lock_elsewhere")
    toml = MIGRATE + '[[prestart]]\nname = "seed"\nrun = "echo seeded >> seeded"\nonce_per = "database"\n'
    folder = project(alembic_project() | {"launcher.toml": toml})
    for _ in range(2):
        url = postgresql.url("same_name", "psycopg")  # dropped and made again
        launched = launch("prestart", "--lock", lock, cwd=folder, env={"DATABASE_URL": url})
        assert 0 == launched.wait(), str(launched)

    assert "seeded\nseeded\n" == (folder / "seeded").read_text()


@pytest.mark.parametrize("lock", ["sqlite:app.db", "postgresql:u:s3cret@h/db", "postgres:app"])
def test_a_database_that_is_no_url(launch: Launch, project: MakeProject, lock: str) -> None:
    """2 with the way to write it, and without the password."""
    launched = launch("prestart", "--lock", lock, cwd=project({"launcher.toml": SEED}))

    assert 2 == launched.wait()
    assert "://user@host/database" in launched.stderr
    assert "s3cret" not in launched.stderr


def test_an_unknown_database_is_no_reason_for_no_lock(launch: Launch, project: MakeProject) -> None:
    """DATABASE_URL of a dialect that there is no lock for: refused, and --lock is named."""
    folder = project({"launcher.toml": SEED})
    launched = launch("prestart", cwd=folder, env={"DATABASE_URL": "mongodb://app:s3cret@h/db"})

    assert 2 == launched.wait()
    assert "--lock" in launched.stderr
    assert "s3cret" not in launched.stderr
    assert not (folder / "seeded").exists()


def test_an_env_py_that_cannot_tell_is_not_run_without_a_lock(launch: Launch, project: MakeProject) -> None:
    """A mistake in env.py ends the start at once (10) with env.py's own words; its database being down, later (69)."""
    broken = project(alembic_project("raise RuntimeError('no settings')"), "broken")
    url = f"postgresql+psycopg://u:s3cret@127.0.0.1:{free_port()}/x"
    down = project(alembic_project(SYNC_ENV.replace("engine =", 'url = os.environ["URL"]; engine =')), "down")
    mistaken = launch("prestart", cwd=broken)
    waiting = launch("prestart", "--lock-timeout", "1s", cwd=down, env={"URL": url})

    assert [10, 69] == [mistaken.wait(), waiting.wait()], f"{mistaken}\n{waiting}"
    assert "no settings" in mistaken.stderr
    assert "s3cret" not in waiting.stderr


def test_a_stop_signal_does_not_wait_for_a_question(launch: Launch, project: MakeProject) -> None:
    """An env.py that is asked and ignores TERM is killed at once: it changes nothing."""
    folder = project(alembic_project(DEAF))
    launched = launch("prestart", cwd=folder)
    until((folder / "asked").exists, "the question", 20)
    before = time.monotonic()
    launched.popen.terminate()

    assert 143 == launched.wait()
    assert time.monotonic() - before < 4  # a step would get five seconds


def test_applications_that_share_a_database_have_records_of_their_own(
    launch: Launch, project: MakeProject, postgresql: PostgreSQL
) -> None:
    """Two projects, one release id, one name of a step: both are done, since the records bear the projects' names."""
    url = postgresql.url("shared")
    folders = [
        project({"launcher.toml": SEED, "pyproject.toml": f'[project]\nname = "{name}"\nversion = "1"\n'}, name)
        for name in ("shop", "blog")
    ]
    codes = [launch("prestart", "--lock", url, "--release", "r1", cwd=folder).wait() for folder in folders]
    told = launch("lock", "--json", "--lock", url, cwd=folders[0])

    assert [0, 0, 0] == [*codes, told.wait()]
    assert ["seeded\n"] * 2 == [(folder / "seeded").read_text() for folder in folders]
    assert ["shop: seed", "blog: seed"] == [record["step"] for record in json.loads(told.stdout)["records"]]
