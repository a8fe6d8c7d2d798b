"""Is the lock taken as long as anything that was started under it lives, also what only asks?"""

from __future__ import annotations

import fcntl
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from support.alembic_projects import INI, table_migrations
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard's promise to daemons is Linux's")

# Two databases: it has to be asked each time. The second time, which is under the lock, it is deaf and stays.
STAYS = """
    import os, pathlib, signal, time
    from alembic import context
    from sqlalchemy import create_engine

    asked = pathlib.Path("asked")
    if asked.exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path("staying").write_text(str(os.getpid()))
        time.sleep(600)
    for name in ("one", "two"):
        with create_engine(f"sqlite:///{name}.db").connect() as connection:
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
    asked.touch()
"""


def is_free(lock: Path) -> bool:
    """Take the lock for a moment, if it can be had."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_the_lock_outlives_an_env_py_that_was_asked_under_it(launch: Launch, project: MakeProject) -> None:
    """When the launcher is killed with -9 while it asks env.py under the lock, the lock is free only after env.py."""
    folder = project({"alembic.ini": INI, "migrations/env.py": STAYS, **table_migrations(1)})
    for name in ("one", "two"):
        (folder / f"{name}.db").touch()
    launched = launch("prestart", "--lock", "file", cwd=folder, allow_strays=True)
    until(lambda: (folder / "staying").exists() and (folder / "staying").read_text(), "env.py under the lock", 30)
    pid = int((folder / "staying").read_text())
    launched.signal(signal.SIGKILL)
    freed_early: list[int] = []

    def gone() -> bool:
        free = is_free(folder / ".launcher/prestart.lock")
        with suppress(psutil.NoSuchProcess):
            alive = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
            if free and alive:
                freed_early.append(pid)
        return free

    until(gone, "the lock to be free", 20)

    assert not freed_early
    assert not psutil.pid_exists(pid)
