"""Does what is wrong end the start with one clear message and the documented exit code?"""

from __future__ import annotations

import shutil
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from support.alembic_projects import alembic_project, migration
from support.commands import APPENDS, error_of, serving, times, toml
from support.namespaces import needs_namespaces
from support.serving import APP, BROKEN
from support.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && shift && exec "$@"'


def refused(launched: Launched, code: int) -> str:
    """Return the message of a start that ended with this code: no traceback of ours, and nothing was executed."""
    assert launched.wait() == code, launched
    assert launched.event("launcher.handed_over") is None
    return error_of(launched)


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
@pytest.mark.parametrize("fault", ["missing", "lifespan"])
def test_a_broken_application(launch: Launch, project: MakeProject, server: str, fault: str) -> None:
    """An import error and a failing lifespan end the server with 3, not in a crash loop."""
    folder = project({"main.py": BROKEN[fault] + APP * (fault == "missing")})
    launched = launch("run", "main:app", "--server", server, "--workers", "1", "--port", str(free_port()), cwd=folder)

    assert launched.wait() == 3, launched
    assert ("no_such_module" if fault == "missing" else "broken on purpose") in launched.stderr


def test_a_broken_migration(launch: Launch, project: MakeProject) -> None:
    """10, with the end of Alembic's output in the message."""
    files = alembic_project() | {"main.py": APP}
    files["migrations/versions/r2_x.py"] = migration("r2", "r1", body="raise RuntimeError('no such column: née')")
    message = refused(launch("run", "--port", str(free_port()), cwd=project(files)), 10)

    assert "'alembic'" in message
    assert "RuntimeError: no such column: née" in message


@pytest.mark.parametrize(
    ("step", "code", "said"),
    [
        ('name = "seed"\nrun = "echo half done; exit 4"', 10, ("'seed'", "exit code 4", "half done")),
        ('name = "seed"\nrun = "kill -9 $$"', 10, ("'seed'", "signal 9")),
        ('name = "seed"\nrun = "echo begun; exec sleep 600"\ntimeout = "1s"', 10, ("'seed'", "1s", "begun")),
        ('name = "seed"\nrun = ["no-such-program"]', 10, ("'seed'", "127", "no-such-program")),
        ('name = "up"\nwait-for = "tcp://127.0.0.1:1"\ntimeout = "1s"', 69, ("'up'", "127.0.0.1:1")),
    ],
    ids=["exit code", "signal", "timeout", "no program", "dependency"],
)
def test_a_failing_step(launch: Launch, project: MakeProject, step: str, code: int, said: tuple[str, ...]) -> None:
    """10 for a step that failed, was killed or took too long, 69 for what never came up; with name and output."""
    folder = project({"main.py": APP, "launcher.toml": toml(step)})
    message = refused(launch("run", "--port", str(free_port()), cwd=folder), code)

    assert [word for word in said if word not in message] == []


def test_a_taken_port(launch: Launch, project: MakeProject) -> None:
    """A port in use is known before anything is done: 2, with the port, where it was said and what to do."""
    folder = project({"main.py": APP, "seed.py": APPENDS, "launcher.toml": toml('run = "{python} seed.py"')})
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        message = refused(launch("run", "--port", str(port), cwd=folder), 2)

    assert [word for word in (str(port), "--port", "in use") if word not in message] == []
    assert times(folder) == 0


ONE_TABLE = "[tool.launcher]\nserver = 'gunicorn'\n"
SETTINGS = {
    "no TOML": ({"launcher.toml": "app = ["}, ("launcher.toml", "TOML")),
    "unknown key": ({"launcher.toml": "wrokers = 3"}, ("launcher.toml", "'wrokers'", "workers")),
    "unknown key of a step": ({"launcher.toml": "[[prestart]]\nrun = 'true'\ntimout = 3"}, ("'timout'", "timeout")),
    "wrong type": ({"launcher.toml": "workers = 'many'"}, ("launcher.toml", "workers", "many")),
    "wrong word": ({"launcher.toml": "server = 'gunicron'"}, ("launcher.toml", "gunicron", "gunicorn")),
    "both files": ({"launcher.toml": "", "pyproject.toml": ONE_TABLE}, ("launcher.toml", "[tool.launcher]")),
    "a folder": ({"launcher.toml/x": ""}, ("launcher.toml",)),
    "no UTF-8": ({"launcher.toml": "app = 'caf\udce9'"}, ("launcher.toml",)),
}


@pytest.mark.parametrize(("files", "said"), SETTINGS.values(), ids=SETTINGS)
def test_settings_that_cannot_be_taken(
    launch: Launch, project: MakeProject, files: dict[str, str], said: tuple[str, ...]
) -> None:
    """2 and one message that names the place, and the nearest known word."""
    folder = project({"main.py": APP})
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, errors="surrogateescape")
    message = refused(launch("run", "--port", str(free_port()), cwd=folder), 2)

    assert [word for word in said if word not in message] == []
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prot", "80"), "--port"),
        (("--worker-connections", "5"), "After `--` it goes to gunicorn"),
        (("--ws-ping-interval", "5"), "After `--` it goes to uvicorn"),
        (("--ready-workers", "0"), "neither a whole number"),
        (("--worker-memory-limit", "1 elephant"), "--worker-memory-limit"),
        (("--lock", "oracle://localhost/x"), "no lock for 'oracle'"),
        (("--release", "latest"), "latest"),
        (("--workers", "0"), "--workers"),
        (("--port", "99999"), "--port"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_options_that_cannot_be_taken(launch: Launch, project: MakeProject, words: tuple[str, ...], said: str) -> None:
    """2 with the nearest option, the way to the server's own, or what is wrong: nothing is accepted and ignored."""
    folder = project({"main.py": APP, "seed.py": APPENDS, "launcher.toml": toml('run = "{python} seed.py"')})
    message = refused(launch("run", *words, cwd=folder), 2)

    assert said in message
    assert times(folder) == 0


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\udcff"], ids=["empty label", "long label", "no text"])
def test_a_host_that_is_no_name(launch: Launch, project: MakeProject, host: str) -> None:
    """2 and the variable, and no traceback, for what the resolver does not even look up."""
    folder = project({"main.py": APP, "seed.py": APPENDS, "launcher.toml": toml('run = "{python} seed.py"')})
    launched = launch("run", "--port", str(free_port()), cwd=folder, env={"HOST": host})
    message = refused(launched, 2)

    assert "HOST" in message
    assert "Traceback" not in launched.stderr
    assert times(folder) == 0


@pytest.mark.parametrize(
    "content", ["", "{", '{"schema": 9, "records": []}'], ids=["empty", "torn", "another version's"]
)
def test_a_ledger_that_cannot_be_read(launch: Launch, project: MakeProject, content: str) -> None:
    """2, not "try again", with the file and what to do; nothing is run."""
    step = toml('run = "{python} seed.py"\nonce_per = "database"')
    folder = project({"main.py": APP, "seed.py": APPENDS, "launcher.toml": step})
    (folder / ".launcher").mkdir()
    (folder / ".launcher" / "prestart.ledger.json").write_text(content)
    message = refused(launch("prestart", cwd=folder), 2)

    assert [word for word in ("prestart.ledger.json", "counts as not done") if word not in message] == []
    assert times(folder) == 0


@pytest.mark.parametrize("value", ["0", "2.5", "abc", "-1"])
def test_a_number_of_workers_that_is_none(launch: Launch, project: MakeProject, value: str) -> None:
    """WEB_CONCURRENCY that is no whole number from 1 on: 2, with the variable, the value and what may stand there."""
    folder = project({"main.py": APP})
    message = refused(launch("run", "--port", str(free_port()), cwd=folder, env={"WEB_CONCURRENCY": value}), 2)

    assert [word for word in ("WEB_CONCURRENCY", value, "auto") if word not in message] == []


@pytest.mark.parametrize("value", ["", "auto"])
def test_a_number_of_workers_that_is_left_to_us(launch: Launch, project: MakeProject, value: str) -> None:
    """A blank WEB_CONCURRENCY counts as not set, `auto` as asked: both begin with the sum."""
    port = free_port()
    launched = launch("run", "--port", str(port), cwd=project({"main.py": APP}), env={"WEB_CONCURRENCY": value})
    serving(launched, port)

    assert "fit in memory" in launched.wait_event("launcher.workers_chosen")["because"]


def test_no_application(launch: Launch, tmp_path: Path) -> None:
    """2, with all that was looked at and how to name one."""
    message = refused(launch("run", cwd=tmp_path), 2)
    tried = ("main.py", "app.py", "api.py", "asgi.py", "app/", "*/asgi.py", "src/*/", "launcher run module:attribute")

    assert [word for word in tried if word not in message] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--server", "gunicron"), ("--server", "'gunicron'", "gunicorn")),
        (("--", "--bind", "x"), ("--bind",)),
        (("--server", "uvicorn", "--preload"), ("--preload",)),
    ],
    ids=["no such server", "gunicorn cannot", "uvicorn cannot"],
)
def test_what_the_server_cannot_do(
    launch: Launch, project: MakeProject, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    """It is known before the steps, not after a migration: 2, with the option."""
    folder = project({"main.py": APP, "seed.py": APPENDS, "launcher.toml": toml('run = "{python} seed.py"')})
    message = refused(launch("run", "--port", str(free_port()), *words, cwd=folder), 2)

    assert [word for word in said if word not in message] == []
    assert times(folder) == 0


class TestReadOnly:
    """A project on a file system that is mounted read-only."""

    pytestmark = needs_namespaces

    def start(self, spawn: Spawner, folder: Path, *words: str) -> Launched:
        """Start in the folder, seen read-only by this process alone."""
        command = [sys.executable, "-m", "launcher", *words]
        return spawn(["unshare", "-m", "sh", "-c", READ_ONLY, "sh", folder, *command])

    def test_nothing_is_due(self, spawn: Spawner, project: MakeProject) -> None:
        """With nothing to do nothing has to be written: it serves."""
        port = free_port()
        launched = self.start(spawn, project({"main.py": APP}), "run", "--workers", "1", "--port", str(port))

        assert serving(launched, port)["ppid"] == launched.pid

    def test_a_step_is_due(self, spawn: Spawner, project: MakeProject, tmp_path: Path) -> None:
        """The lock is in a private folder of the temporary directory, and the step runs once."""
        target = tmp_path / "writable"
        step = toml(f'name = "seed"\nrun = "{{python}} seed.py {target}/done"')
        folder = project({"main.py": APP, "seed.py": APPENDS, "launcher.toml": step})
        target.mkdir()
        try:
            first, second = (self.start(spawn, folder, "prestart") for _ in range(2))
            statuses = first.wait(), second.wait()
            planned = first.wait_event("launcher.steps_planned")["lock"]
        finally:
            self.forget(first)

        assert statuses == (0, 0), (first.stderr, second.stderr)
        assert times(target) == 1
        assert str(folder) not in planned

    def test_a_lock_there(self, spawn: Spawner, project: MakeProject) -> None:
        """A lock that was asked for in such a place is not silently another: 2, with the path."""
        folder = project({"main.py": APP, "launcher.toml": toml('run = "true"')})
        launched = self.start(spawn, folder, "run", "--lock", f"file:{folder}/x.lock", "--port", str(free_port()))
        message = refused(launched, 2)

        assert f"{folder}/x.lock" in message
        assert "--lock file:PATH" in message

    def forget(self, launched: Launched) -> None:
        """Remove the lock's folder, which is outside of the test's own."""
        planned = launched.event("launcher.steps_planned")
        path = planned["lock"].removeprefix("file ").partition(",")[0] if planned else ""
        if "/launcher-" in path:
            shutil.rmtree(path.rpartition("/")[0])
