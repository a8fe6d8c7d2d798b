"""What do all tests get by naming it?"""

from __future__ import annotations

import signal
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from support import fixtures
from support.mariadb import MariaDB, running_mariadb
from support.memory_group import MemoryGroup, memory_group
from support.postgresql import PostgreSQL, running_postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = ("gunicorn", "uvicorn", "uvicorn-worker", "alembic", "sqlalchemy", "filelock", "click", "msgspec", "structlog")


def pytest_configure() -> None:
    """Start as from a shell's foreground: in the background INT and QUIT are ignored, and would be in what we start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_report_header() -> str:
    """Print the versions a failure may depend on."""
    return "with: " + ", ".join(f"{name} {version(name)}" for name in _SHOWN)


spawn = fixtures.spawn
launch = fixtures.launch
project = fixtures.project


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Run a real PostgreSQL server: `postgresql.url("orders")` is a new database in it."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """Run a real MariaDB server: `mariadb.url("orders")` is a new database in it."""
    with running_mariadb() as server:
        yield server


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    """Make a memory group without a limit. Ask for it before `launch`, so that it is removed after the processes."""
    with memory_group() as made:
        yield made
