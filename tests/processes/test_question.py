"""Is a person asked before something is done that was found rather than configured?"""

from __future__ import annotations

import contextlib
import os
import pty
import sys
from typing import TYPE_CHECKING

import pytest

from support.alembic_projects import alembic_project
from support.commands import APPENDS, times, toml
from support.serving import APP
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
FOUND = {"main.py": APP, **alembic_project()}


class Terminal:
    """A pseudo-terminal: what is typed into it, and what appears on it."""

    def __init__(self) -> None:
        """Open one."""
        self.ours, self.theirs = pty.openpty()
        os.set_blocking(self.ours, False)
        self.shown = ""

    def type(self, text: str) -> None:
        """Type."""
        os.write(self.ours, text.encode())

    def shows(self, text: str) -> bool:
        """Read what has come; tell whether `text` was ever shown."""
        with contextlib.suppress(OSError):  # nothing new, or nobody has it open any more
            self.shown += os.read(self.ours, 65536).decode(errors="replace")
        return text in self.shown


@contextlib.contextmanager
def on_terminal(spawn: Spawner, folder: Path, *words: str) -> Iterator[tuple[Launched, Terminal]]:
    """Start the launcher with all three streams on a terminal."""
    terminal = Terminal()
    command = [sys.executable, "-m", "launcher", *words]
    name = os.ttyname(terminal.theirs)
    try:
        yield spawn(["sh", "-c", f'exec "$@" <{name} >{name} 2>&1', "sh", *command], cwd=folder), terminal
    finally:
        os.close(terminal.ours)
        os.close(terminal.theirs)


@pytest.mark.parametrize(("answer", "code", "migrated"), [("n", 10, False), ("", 10, False), ("y", 0, True)])
def test_what_was_found_is_asked_about(
    spawn: Spawner, project: MakeProject, answer: str, code: int, *, migrated: bool
) -> None:
    """An alembic.ini that nobody configured is run after "y" only; "n" and Enter end the start with 10."""
    folder = project(FOUND)
    with on_terminal(spawn, folder, "prestart") as (launched, terminal):
        until(lambda: terminal.shows("[y/N]"), "the question")
        terminal.type(f"{answer}\n")
        until(lambda: terminal.shows("\0") or not launched.running, "the end", 20)

        assert launched.wait() == code, terminal.shown
        assert "alembic.ini" in terminal.shown
    assert (folder / "app.db").exists() == migrated


@pytest.mark.parametrize("configured", [False, True])
def test_no_question(spawn: Spawner, project: MakeProject, *, configured: bool) -> None:
    """Neither with --yes nor for a step that somebody wrote down is anybody asked."""
    step = {"launcher.toml": toml('run = "{python} seed.py"'), "seed.py": APPENDS}
    folder = project(step if configured else FOUND)
    with on_terminal(spawn, folder, "prestart", *([] if configured else ["--yes"])) as (launched, terminal):
        until(lambda: terminal.shows("\0") or not launched.running, "the end", 20)
        terminal.shows("")

        assert launched.wait() == 0, terminal.shown
        assert "[y/N]" not in terminal.shown
    assert times(folder) == 1 if configured else (folder / "app.db").exists()


def test_nobody_is_asked_without_a_terminal(launch: Launch, project: MakeProject) -> None:
    """In a container what was found is run."""
    folder = project(FOUND)
    launched = launch("prestart", cwd=folder)

    assert launched.wait() == 0, launched
    assert "[y/N]" not in launched.stderr
    assert (folder / "app.db").exists()


def test_an_interrupt_at_the_question(spawn: Spawner, project: MakeProject) -> None:
    """TERM while the question is open ends the start with 143, and nothing is done."""
    folder = project(FOUND)
    with on_terminal(spawn, folder, "prestart") as (launched, terminal):
        until(lambda: terminal.shows("[y/N]"), "the question")
        launched.popen.terminate()

        assert launched.wait(5) == 143
    assert not (folder / "app.db").exists()
