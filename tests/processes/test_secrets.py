"""Is a password anywhere but where it has to be?"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.alembic_projects import alembic_project
from support.commands import answers, toml
from support.serving import APP
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
PASSWORD = "hunter2-Q7xZ"
PRINTS = """
import os, sys, time
print("connecting to", os.environ["DATABASE_URL"])
print("with", os.environ["DATABASE_URL"], file=sys.stderr)
raise SystemExit(int(sys.argv[1]))
"""


def with_password(url: str) -> str:
    """Return the URL with a password, which a server that trusts everybody does not ask for."""
    return url.replace("postgres@", f"postgres:{PASSWORD}@")


def command_lines(launched: Launched) -> set[str]:
    """Return the command lines of the process and of all below it."""
    found: set[str] = set()
    for pid in (launched.pid, *launched.children(recursive=True)):
        with contextlib.suppress(OSError):
            found.add(Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " "))
    return found


def written(folder: Path) -> list[str]:
    """Return the files of the state folder that hold the password."""
    files = [path for path in (folder / ".launcher").rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if PASSWORD.encode() in path.read_bytes()]


def leaks(launched: Launched, folder: Path) -> dict[str, str]:
    """Return where the password can be read."""
    streams = {"stdout": launched.stdout, "stderr": launched.stderr}
    return {name: text for name, text in streams.items() if PASSWORD in text} | dict.fromkeys(written(folder), "file")


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_a_start_that_succeeds(launch: Launch, project: MakeProject, postgresql: PostgreSQL, server: str) -> None:
    """No command line of launcher, guard, step or server shows it at any moment, and no output and no file holds it."""
    steps = (
        'name = "up"\nwait-for = "env:DATABASE_URL"',
        'name = "migrate"\nalembic = "alembic.ini"',
        'name = "prints"\nrun = "{python} prints.py 0"',
    )
    folder = project(alembic_project() | {"main.py": APP, "prints.py": PRINTS, "launcher.toml": toml(*steps)})
    environ = {"DATABASE_URL": with_password(postgresql.url(f"secrets_{server}", "psycopg"))}
    port = free_port()
    words = ("--server", server, "--workers", "1", "--port", str(port))
    launched = launch("run", *words, cwd=folder, env=environ)
    seen: set[str] = set()

    def sampled_until_served() -> bool:
        assert launched.running, launched
        seen.update(command_lines(launched))
        return launched.event("launcher.handed_over") is not None and answers(port)

    until(sampled_until_served, "the server", 30)

    assert any("guard.py" in line for line in seen)
    assert [line for line in seen if PASSWORD in line] == []
    assert leaks(launched, folder) == {}
    assert "postgres:***@" in launched.stderr


def test_a_step_that_fails(launch: Launch, project: MakeProject) -> None:
    """The end of a failed step's output is in the message and in the ledger without it."""
    folder = project({"main.py": APP, "prints.py": PRINTS, "launcher.toml": toml('run = "{python} prints.py 3"')})
    url = f"postgresql://app:{PASSWORD}@db.example/app"
    launched = launch("run", "--lock", "file", "--port", str(free_port()), cwd=folder, env={"DATABASE_URL": url})

    assert launched.wait() == 10
    assert "connecting to postgresql://app:***@db.example/app" in launched.stderr
    assert leaks(launched, folder) == {}


@pytest.mark.parametrize("words", [("plan", "--json"), ("plan",), ("check",), ("prestart",)], ids=" ".join)
def test_urls_in_the_settings(launch: Launch, project: MakeProject, words: tuple[str, ...]) -> None:
    """A URL that was written into the settings, its driver's error included, is shown without it by every command."""
    url = f"postgresql://app:{PASSWORD}@127.0.0.1:1/app"
    steps = (f'name = "up"\nwait-for = "{url}"\ntimeout = "1s"', 'name = "migrate"\nalembic = "alembic.ini"')
    files = alembic_project() | {"main.py": APP, "launcher.toml": toml(*steps)}
    launched = launch(*words, cwd=project(files), env={"DATABASE_URL": url.replace("postgresql", "postgresql+psycopg")})
    seen: set[str] = set()

    def sampled_to_the_end() -> bool:
        seen.update(command_lines(launched))
        return not launched.running

    until(sampled_to_the_end, "the end", 30)

    assert [line for line in seen if PASSWORD in line] == []
    assert PASSWORD not in launched.stdout + launched.stderr, launched


def test_a_lock_that_is_a_url(launch: Launch, project: MakeProject) -> None:
    """A lock's URL that leads nowhere is named without its password by every command, exit code 69 in a start."""
    folder = project({"main.py": APP, "launcher.toml": toml('run = "true"')})
    url = f"postgresql://app:{PASSWORD}@127.0.0.1:1/app"
    for words in (("plan", "--json"), ("check",), ("run", "--port", str(free_port())), ("lock",)):
        launched = launch(*words, cwd=folder, env={"LAUNCHER_LOCK": url, "LAUNCHER_LOCK_TIMEOUT": "1s"})

        assert launched.wait() == (0 if "plan" in words else 69), launched
        assert PASSWORD not in launched.stdout + launched.stderr, launched


def test_the_environment_is_the_only_place(launch: Launch, project: MakeProject) -> None:
    """The server's environment has it, since the application needs it, and the process's plan has not."""
    folder = project({"main.py": APP})
    port = free_port()
    url = f"postgresql://app:{PASSWORD}@db.example/app"
    launched = launch("run", "--workers", "1", "--port", str(port), cwd=folder, env={"DATABASE_URL": url})
    until(lambda: answers(port) or not launched.running, "the server", 20)
    plans = [path for path in Path(f"/proc/{launched.pid}/fd").iterdir() if "memfd" in str(path.readlink())]

    assert PASSWORD in psutil.Process(launched.pid).environ()["DATABASE_URL"]
    assert [path for path in plans if PASSWORD.encode() in path.read_bytes()] == []
