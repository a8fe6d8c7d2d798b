"""Which fixtures do the tests of the core and of the plugins share?

A conftest.py takes one by its name: `spawn = fixtures.spawn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.projects import MakeProject, write_project
from support.spawning import Launch, Spawner


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawner]:
    """Start any command; all it started is gone after the test, and what it left behind fails the test."""
    spawner = Spawner(tmp_path / "processes")
    yield spawner
    spawner.end()


@pytest.fixture
def launch(spawn: Spawner) -> Launch:
    """Start the launcher: `launch("run", "--port", "8001", cwd=..., env=...)`."""
    return spawn.launch


@pytest.fixture
def project(tmp_path: Path) -> MakeProject:
    """Write an application: `project({"main.py": "..."})`."""

    def make(files: Mapping[str, str], name: str = "project") -> Path:
        return write_project(tmp_path / name, files)

    return make
