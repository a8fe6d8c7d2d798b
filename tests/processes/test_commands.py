"""Do the commands around `run` say what is true, and change nothing?"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.alembic_projects import alembic_project, migration
from support.commands import APPENDS, serving, times, toml
from support.serving import APP
from support.waiting import free_port

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

SEED = toml('name = "migrate"\nalembic = "alembic.ini"', 'name = "seed"\nrun = "{python} seed.py"')
PROJECT = {"main.py": APP, "seed.py": APPENDS, "launcher.toml": SEED, **alembic_project()}
LAUNCHER = Path(sys.executable).with_name("launcher")
BUILT_IN = {"file", "gunicorn", "uvicorn", "alembic", "run", "call", "wait-for", "pre-start-path"}
KEYS = {"app", "server", "workers", "memory", "lock", "steps", "argv", "settings", "ignored"}  # DESIGN §6


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file with its content, the interpreter's own caches left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def planned(launch: Launch, folder: Path, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the document of `launcher plan --json`, which always exits with 0."""
    launched = launch("plan", "--json", *words, cwd=folder, env=env or {})
    assert launched.wait() == 0, launched
    return dict(json.loads(launched.stdout))


def dues(document: dict[str, Any]) -> dict[str, bool | None]:
    """Return what is due, by step."""
    return {step["name"]: step["due"] for step in document["steps"]}


def test_plan_says_what_is_due(launch: Launch, project: MakeProject) -> None:
    """Before, after and after a new migration `due` is what the next start does."""
    folder = project(PROJECT)
    before = dues(planned(launch, folder, "--release", "r1"))
    assert launch("prestart", "--release", "r1", cwd=folder).wait() == 0
    after = dues(planned(launch, folder, "--release", "r1"))
    (folder / "migrations" / "versions" / "r3_x.py").write_text(migration("r3", "r2"))
    later = dues(planned(launch, folder, "--release", "r2"))

    assert before == {"migrate": True, "seed": True}
    assert after == {"migrate": False, "seed": False}
    assert later == {"migrate": True, "seed": True}


@pytest.mark.parametrize("words", [("plan",), ("plan", "--json"), ("check",)], ids=" ".join)
@pytest.mark.parametrize("done", [False, True], ids=["nothing done", "all done"])
def test_nothing_is_changed(launch: Launch, project: MakeProject, words: tuple[str, ...], *, done: bool) -> None:
    """No file is made, removed or written, the database included, whether there is something to do or not."""
    folder = project(PROJECT)
    if done:
        assert launch("prestart", cwd=folder).wait() == 0
    before = tree(folder)
    launched = launch(*words, cwd=folder)

    assert launched.wait() == 0, launched
    assert tree(folder) == before


def test_plan_has_the_published_keys(launch: Launch, project: MakeProject) -> None:
    """The document has the keys that tools rely on, down to their members."""
    document = planned(launch, project(PROJECT), env={"GUNICORN_CMD_ARGS": "", "WEB_CONCURRENCY": ""})

    assert set(document) >= KEYS
    assert set(document["workers"]) >= {"count", "because"}
    assert set(document["memory"]) >= {"limit_bytes", "source", "budget_bytes", "regions"}
    assert all(set(region) >= {"name", "bytes", "source"} for region in document["memory"]["regions"])
    assert set(document["lock"]) >= {"kind", "where"}
    assert all(set(step) >= {"name", "type", "once_per", "due", "because"} for step in document["steps"])
    assert all(set(one) == {"value", "origin"} for one in document["settings"].values())
    assert all(set(one["origin"]) >= {"kind", "where"} for one in document["settings"].values())
    assert ["workers"] == [one["name"] for one in document["ignored"]]


def test_plan_says_the_command(launch: Launch, project: MakeProject) -> None:
    """What the plan shows as argv is what the process becomes."""
    folder = project({"main.py": APP})
    port = free_port()
    argv = planned(launch, folder, "--port", str(port), "--workers", "1")["argv"]
    launched = launch("run", "--port", str(port), "--workers", "1", cwd=folder)
    serving(launched, port)

    assert argv == launched.wait_event("launcher.handed_over")["argv"]


BROKEN: dict[str, tuple[dict[str, str], tuple[str, ...], int]] = {
    "no application": ({"main.py": ""}, (), 2),
    "unknown key": ({"main.py": APP, "launcher.toml": "wrokers = 1"}, (), 2),
    "unknown server": ({"main.py": APP}, ("--server", "gunicron"), 2),
    "broken import": ({"main.py": "import no_such_module\n" + APP}, (), 3),
    "no room for a worker": ({"main.py": APP}, ("--memory", "64M", "--worker-memory-estimate", "500M"), 12),
    "broken env.py": (alembic_project(env="raise RuntimeError('no settings')") | {"main.py": APP}, (), 10),
    "broken plugin": ({"main.py": APP, "launcher.toml": 'plugins = ["no_such_module"]'}, ("--server", "x"), 2),
}


@pytest.mark.parametrize(("files", "words", "code"), BROKEN.values(), ids=BROKEN)
def test_check_exits_as_run_would(
    launch: Launch, project: MakeProject, files: dict[str, str], words: tuple[str, ...], code: int
) -> None:
    """`check` and `run` have one exit code for what is broken, and `plan` has 0."""
    folder = project(files)
    started = [launch(word, *words, "--port", str(free_port()), cwd=folder) for word in ("plan", "check", "run")]
    codes = [launched.wait() for launched in started]

    assert codes == [0, code, code], [str(one) for one in started]
    assert not any("launcher/cli" in launched.stderr for launched in started)  # no traceback of ours


def test_check_takes_the_address(launch: Launch, project: MakeProject) -> None:
    """A port in use is found by `check` as `run` would find it."""
    with socket.create_server(("0.0.0.0", 0)) as other:
        launched = launch("check", "--port", str(other.getsockname()[1]), cwd=project({"main.py": APP}))

        assert launched.wait() == 2
    assert "in use" in launched.stderr


def test_plan_with_settings_that_cannot_be_read(launch: Launch, project: MakeProject) -> None:
    """The problem is in the document, with the exit code that `run` would have."""
    document = planned(launch, project({"main.py": APP}), env={"WEB_CONCURRENCY": "2.5"})

    assert [("settings", 2)] == [(one["part"], one["exit_code"]) for one in document["problems"]]


def test_plugins(launch: Launch, project: MakeProject) -> None:
    """Every built-in kind is listed, to a person and to a program."""
    table, document = launch("plugins"), launch("plugins", "--json")
    assert [table.wait(), document.wait()] == [0, 0]

    assert {one["word"] for one in json.loads(document.stdout)} >= BUILT_IN
    assert [word for word in BUILT_IN if word not in table.stdout] == []


def test_help_and_version(launch: Launch) -> None:
    """Help shows run, prestart and plan first; the version has one line, in each spelling."""
    shown, *versions = (launch(word) for word in ("--help", "--version", "-V"))
    assert [launched.wait() for launched in (shown, *versions)] == [0, 0, 0]
    places = [shown.stdout.index(f"\n  {name} ") for name in ("run", "prestart", "plan", "check", "plugins")]

    assert places == sorted(places)
    assert 1 == len({launched.stdout for launched in versions})
    assert versions[0].stdout.startswith("launcher ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(spawn: Spawner, shell: str) -> None:
    """The shell gets its script."""
    launched = spawn([LAUNCHER], env={"_LAUNCHER_COMPLETE": f"{shell}_source"})

    assert launched.wait() == 0
    assert "_LAUNCHER_COMPLETE" in launched.stdout


@pytest.mark.parametrize(
    ("line", "offered"), [("pre", "prestart"), ("run --lock-t", "--lock-timeout"), ("plan --js", "--json")]
)
def test_completion(spawn: Spawner, line: str, offered: str) -> None:
    """Commands and options are completed."""
    words = f"launcher {line}"
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    launched = spawn([LAUNCHER], env=variables | {"_LAUNCHER_COMPLETE": "bash_complete"})

    assert launched.wait() == 0
    assert f"plain,{offered}" in launched.stdout.splitlines()


@pytest.mark.parametrize("configured", ["launcher.toml", "pyproject.toml", "LAUNCHER_APP", None])
def test_no_command(launch: Launch, project: MakeProject, configured: str | None) -> None:
    """Without a command it is `run` where an application is configured, and help elsewhere."""
    tables = {"launcher.toml": 'app = "main:app"\n', "pyproject.toml": '[tool.launcher]\napp = "main:app"\n'}
    folder = project({"main.py": APP} | {name: text for name, text in tables.items() if name == configured})
    port = free_port()
    environ = {"PORT": str(port)} | ({"LAUNCHER_APP": "main:app"} if configured == "LAUNCHER_APP" else {})
    launched = launch(cwd=folder, env=environ)

    if configured:
        assert serving(launched, port)["environ"]["PORT"] == str(port)
    else:
        assert launched.wait() == 0
        assert "Usage: launcher" in launched.stdout


def test_a_wrong_command(launch: Launch) -> None:
    """2, and the nearest one."""
    launched = launch("pln")

    assert launched.wait() == 2
    assert "Did you mean 'plan'?" in launched.stderr


def test_plan_cannot_tell(launch: Launch, project: MakeProject) -> None:
    """`due` is null where the database cannot be asked, with the reason, and true for what runs in each replica."""
    step = toml('name = "migrate"\nalembic = "alembic.ini"', 'name = "each"\nrun = "true"\nonce_per = "replica"')
    folder = project(alembic_project(env="raise RuntimeError('no settings')") | {"launcher.toml": step})
    document = planned(launch, folder)

    assert dues(document) == {"migrate": None, "each": True}
    assert "no settings" in document["steps"][0]["because"]


def test_check_reaches_the_database(launch: Launch, project: MakeProject) -> None:
    """A database that is out of reach ends a start with the code of a dependency that is down, and is told once."""
    environ = {"DATABASE_URL": f"postgresql+psycopg://app@127.0.0.1:{free_port()}/app"}
    launched = launch("check", cwd=project(PROJECT), env=environ)

    assert launched.wait() == 69, launched
    assert 1 == launched.stderr.count("error: "), launched
    assert ["step", "migrate", "cannot", "tell"] in [line.split() for line in launched.stdout.splitlines()]


def test_results_are_alone_on_stdout(launch: Launch, project: MakeProject) -> None:
    """Standard output has the result of a command and nothing else, also when there is something to warn of."""
    folder = project(PROJECT)
    launched = launch("plan", "--json", cwd=folder, env={"WEB_CONCURRENCY": ""})

    assert launched.wait() == 0
    assert isinstance(json.loads(launched.stdout), dict)
    assert times(folder) == 0
