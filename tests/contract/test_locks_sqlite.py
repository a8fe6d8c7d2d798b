"""Does the lock beside a SQLite database keep what `launcher.locks` promises?"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.errors import UsageError
from launcher.locks import Held, Lock, LockContext, Owner
from launcher.locks.sqlite import SqliteLock
from launcher.testing import LockContract
from support.alembic_projects import INI, SYNC_ENV, migration
from support.commands import APPENDS, times, toml

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

SPELLINGS = ["sqlite:///data/app.db", "sqlite+aiosqlite:///./data/x/../app.db?timeout=5", "sqlite:///link.db"]


def lock(cwd: Path, url: str, namespace: str = "", pid: int = 1) -> SqliteLock:
    """Return a contender."""
    scheme, _, where = url.partition(":")
    owner = Owner(host="here", pid=pid, release=None)
    return SqliteLock(LockContext(scheme=scheme, where=where, cwd=cwd, owner=owner, namespace=namespace))


class TestSqliteLock(LockContract):
    """The lock file beside the database, each contender with another spelling of its URL."""

    secret = "hunter2"  # what SQLCipher's URLs have

    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path) -> None:
        self.cwd = tmp_path
        (tmp_path / "data").mkdir()
        (tmp_path / "link.db").symlink_to("data/app.db")

    def contender(self, pid: int, namespace: str = "") -> Lock:
        """Return a contender for the lock of data/app.db."""
        spellings = [*SPELLINGS, f"sqlite:///{self.cwd}/data/app.db", "sqlite+pysqlcipher://:hunter2@/data/app.db"]
        return lock(self.cwd, spellings[pid % len(spellings)], namespace, pid)

    def other_namespace(self, pid: int) -> Lock:
        """Return a contender of another application in the same database."""
        return self.contender(pid, "other")

    def lose(self, held: Held) -> bool:
        """Remove the lock file."""
        [descriptor] = held.descriptors()
        Path(f"/proc/self/fd/{descriptor}").readlink().unlink()
        return True


@pytest.mark.parametrize("spelling", ["data/../app.db", "./app.db", "link.db", "folder/app.db", "app.db?timeout=5"])
@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite", "sqlite3"])
def test_every_spelling_of_a_database_is_one_lock(tmp_path: Path, scheme: str, spelling: str) -> None:
    """A link to the file or to its folder, a way back, an option, a driver: the lock is beside the file itself."""
    (tmp_path / "link.db").symlink_to("app.db")
    (tmp_path / "folder").symlink_to(".")

    assert tmp_path / "app.db.launcher.lock" == lock(tmp_path, f"{scheme}:///{spelling}").path
    assert tmp_path / "app.db.launcher.lock" == lock(tmp_path, f"{scheme}:///{tmp_path}/{spelling}").path


def test_nothing_is_opened_before_the_first_try(tmp_path: Path) -> None:
    """To choose the lock leaves no file, and the database itself is never made by it."""
    chosen = lock(tmp_path, "sqlite:///new/app.db")
    before = list(tmp_path.iterdir())
    held = chosen.try_acquire()
    assert held is not None
    held.say_step("seed")
    chosen.ledger.begin("seed", "r1")
    during = sorted(path.name for path in (tmp_path / "new").iterdir())
    held.release()

    assert [] == before
    assert ["app.db.launcher.holder.json", "app.db.launcher.ledger.json", "app.db.launcher.lock"] == during
    assert chosen.holder() is None  # the note goes with the lock


def test_a_missing_folder_is_made_and_told(tmp_path: Path) -> None:
    """The folder may be for a step to make, so the lock is not refused; that it is not there is said."""
    (tmp_path / "there").mkdir()

    assert f"{tmp_path}/new is not there: it is made" in str(lock(tmp_path, "sqlite:///new/app.db").warning)
    assert None is lock(tmp_path, "sqlite:///there/app.db").warning


@pytest.mark.parametrize(
    ("url", "what", "cure"),
    [
        ("sqlite://", "has no file", "--lock file"),
        ("sqlite:///", "has no file", "--lock file"),
        ("sqlite:///:memory:", "has no file", "--lock file"),
        ("sqlite+aiosqlite:///:memory:?cache=shared", "has no file", "--lock file"),
        ("sqlite:///file:app.db?mode=ro&uri=true", "is given as a file: URI", "--lock file"),
        ("sqlite://app.db", "'app.db' in the SQLite URL is read as a host", "sqlite:///app.db"),
        ("sqlite:app.db", "is not a database URL", "sqlite:///app.db"),
        ("sqlite:///folder", "is a folder", "names a file"),
        ("sqlite:///loop/app.db", "cannot be found", "--lock file"),
        ("sqlite:///a%00b", "cannot be found", "--lock file"),
    ],
)
def test_what_has_no_place_beside_it_is_refused(tmp_path: Path, url: str, what: str, cure: str) -> None:
    """A database in memory, a URI, a folder, a wrong number of slashes: one error with the cure, no other lock."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError) as caught:
        lock(tmp_path, url)

    assert what in caught.value.message
    assert cure in caught.value.cure


@pytest.mark.parametrize(("one", "other"), [("app.db", "app.db.launcher"), ("a", "a.db"), ("app.db", "app.db.lock")])
def test_two_databases_in_a_folder_are_two_locks(tmp_path: Path, one: str, other: str) -> None:
    """No lock, ledger or note of one database is another's, in whatever namespace."""
    names = ["", "x", "x.y", "launcher", "../x"]
    locks = [lock(tmp_path, f"sqlite:///{name}", namespace) for name in (one, other) for namespace in names]
    files = [path for each in locks for path in (each.path, each.ledger.path, each.note.path)]

    assert len(set(files)) == len(files)
    assert {tmp_path} == {path.parent for path in files}


BATCH = """with op.batch_alter_table('t', recreate='always') as batch:
        batch.alter_column('x', nullable=False, server_default='1')"""
CONCURRENT = """with op.get_context().autocommit_block():
        op.execute('PRAGMA journal_mode=WAL')"""


@pytest.mark.parametrize(("inside", "status"), [(False, 0), (True, 1)])
def test_the_step_is_not_locked_out(spawn: Spawner, project: MakeProject, inside: bool, status: int) -> None:  # noqa: FBT001 - a parameter of the test
    """While the lock is held alembic rebuilds tables in batches; with a transaction in the database it could not."""
    folder = project(
        {
            "alembic.ini": INI.replace("app.db", "app.db?timeout=0.2"),
            "migrations/env.py": SYNC_ENV,
            "migrations/versions/a.py": migration("a", body="op.execute('CREATE TABLE t (x int)')"),
            "migrations/versions/b.py": migration("b", "a", body=BATCH),
            "migrations/versions/c.py": migration("c", "b", body=CONCURRENT),
        }
    )
    held = lock(folder, "sqlite:///app.db").try_acquire()
    assert held is not None
    with contextlib.closing(sqlite3.connect(folder / "app.db", isolation_level=None)) as connection:
        if inside:
            connection.execute("BEGIN EXCLUSIVE")
        migrated = spawn([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=folder)
        code = migrated.wait()
    held.release()

    assert status == code, str(migrated)
    assert ("database is locked" in migrated.stderr) == inside


@pytest.mark.timeout(120)
def test_many_launchers_with_one_database(launch: Launch, project: MakeProject, tmp_path: Path) -> None:
    """Eight launchers of three folders, each with its own spelling of the database: one migrates in batches, once."""
    files = {
        "migrations/env.py": SYNC_ENV,
        "migrations/versions/a.py": migration("a", body="op.execute('CREATE TABLE t (x int)')"),
        "migrations/versions/b.py": migration("b", "a", body=BATCH),
        "append.py": APPENDS,
        "launcher.toml": toml('alembic = "alembic.ini"', 'name = "seed"\nrun = ["{python}", "append.py", "../seeded"]'),
    }
    data = tmp_path / "data"
    data.mkdir()
    urls = ["../data/app.db", str(data / "app.db"), "./x/../../data/app.db"]
    folders = [
        project({**files, "alembic.ini": INI.replace("app.db", url)}, name=f"replica{number}")
        for number, url in enumerate(urls)
    ]
    started = [launch("prestart", "--release", "r1", cwd=folders[number % 3]) for number in range(8)]
    statuses = [launched.wait(90) for launched in started]

    assert [0] * 8 == statuses, "\n".join(map(str, started))
    assert 1 == times(tmp_path, "seeded")
    assert 1 == sum(launched.event("launcher.step_done") is not None for launched in started)
    assert [] == [path for folder in folders for path in folder.rglob("*.lock")]
    assert (data / "app.db.launcher.lock").exists()
