"""What does `launcher plan --measure` find out, and does it leave anything behind?"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.instances.runtime_places import TEMPORARY
from support.pool import linux_only
from support.waiting import until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.memory_group import MemoryGroup
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = linux_only

PATIENCE_S = 60.0  # two starts, on a machine that may be busy
PASSWORD = "hunter2-Q7xZ"
# Holds as many MB as `held` says; `first` may be anything that an import does.
APP = """
import pathlib
{first}
held = [b"x" * (int((pathlib.Path(__file__).parent / "held").read_text()) * 10**6)]

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    status = 200 if scope["path"] == "/there" else 404
    await send({{"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]}})
    await send({{"type": "http.response.body", "body": b""}})
"""
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True, name='poller-4711').start()"
HANGS = "import time, pathlib\npathlib.Path('imported').touch()\ntime.sleep(60)"
MB = 10**6


def application(project: MakeProject, held: int = 1, first: str = "") -> Path:
    """Write the application."""
    return project({"main.py": APP.format(first=first), "held": str(held)})


def ended(launched: Launched) -> dict[str, Any]:
    """Return the document of a plan, whose exit code is 0."""
    assert launched.wait(PATIENCE_S) == 0, launched
    return dict(json.loads(launched.stdout))


def measured(launch: Launch, folder: Path, *words: str, **options: Any) -> list[dict[str, Any]]:
    """Return what is told of both ways: without preload, and with it."""
    document = ended(launch("plan", "main:app", "--json", "--measure", *words, cwd=folder, **options))
    ways = document["measured"]
    assert [False, True] == [way["preload"] for way in ways], document
    return list(ways)


def files(folder: Path) -> dict[str, bytes]:
    """Return everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trial_folders() -> set[str]:
    """Return the folders of trials, of this test and of others."""
    return {str(path) for parent in TEMPORARY for path in Path(parent).glob("launcher-trial-*")}


def processes(folder: Path) -> dict[int, str]:
    """Return the command lines of whoever works in a folder."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == folder:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
    return {pid: words for pid, words in found.items() if words}  # a zombie has none


def test_both_ways_are_tried(launch: Launch, project: MakeProject) -> None:
    """60 MB are in each worker without --preload and once with it; nothing in the project has changed."""
    folder = application(project, 60)
    (folder / ".launcher").mkdir()
    (folder / ".launcher" / "memory.json").write_text("{}")
    before = files(folder)
    apart, together = measured(launch, folder, "--memory", "600MiB", "--measure-path", "/there")

    assert 60 * MB < apart["worker_bytes"] < 100 * MB
    assert together["worker_bytes"] < apart["worker_bytes"] - 50 * MB
    assert together["shared_bytes"] > apart["shared_bytes"] + 50 * MB
    assert apart["fitting"] < together["fitting"]
    assert (None, True) == (apart["safe"], together["safe"])
    assert [["200"], ["200"]] == [list(way["answers"]) for way in (apart, together)]
    assert not apart["provisional"]
    assert apart["sum"].endswith(f"= {apart['fitting']}")
    assert before == files(folder)
    assert {} == processes(folder)


def test_an_application_that_cannot_start(launch: Launch, project: MakeProject) -> None:
    """Its own error is in the table and among the warnings, and the exit code is 0."""
    folder = application(project, first="import nothing_of_this_name")
    launched = launch("plan", "main:app", "--measure", cwd=folder)
    status = launched.wait(PATIENCE_S)

    assert 0 == status
    assert "without --preload could not be measured: it did not start (exit code 3): ModuleNotFoundError" in (
        launched.stdout
    )


def test_nothing_is_started_unless_asked(launch: Launch, project: MakeProject) -> None:
    """A plan without --measure imports nothing and says nothing of it."""
    folder = application(project, first="pathlib.Path('imported').touch()")
    document = ended(launch("plan", "main:app", "--json", cwd=folder))

    assert "measured" not in document
    assert not (folder / "imported").exists()


def test_the_users_settings_hold_and_what_a_fork_breaks_is_said(launch: Launch, project: MakeProject) -> None:
    """Environment and folder are theirs, the step is not run, their port not taken; a password is in no argv.

    A thread of the import: it is not safe to preload, by its name, and measured without all the same.
    """
    first = f"""
{THREAD}
import os, time
assert os.environ["DATABASE_URL"] == "x://u:{PASSWORD}@h/db" and pathlib.Path("held").exists()
pathlib.Path("imported").touch()
while not pathlib.Path("seen").exists():
    time.sleep(0.01)
"""
    step = '[[prestart]]\nname = "never"\nrun = "touch step-ran"\n'
    folder = application(project, first=first)
    (folder / "launcher.toml").write_text(step)
    url = f"x://u:{PASSWORD}@h/db"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = ("--namespace", PASSWORD, "--port", port, "--workers", "3")
        launched = launch("plan", "main:app", "--json", "--measure", *words, cwd=folder, env={"DATABASE_URL": url})
        until((folder / "imported").exists, "the import", PATIENCE_S)
        ours = {pid: words for pid, words in processes(folder).items() if pid != launched.pid}
        killed_first = {pid for pid in ours if (Path("/proc") / str(pid) / "oom_score_adj").read_text() == "1000\n"}
        (folder / "seen").touch()
        document = ended(launched)
    apart, together = document["measured"]

    assert {pid for pid, words in ours.items() if "launcher.serving" in words} == killed_first != set()
    assert [] == [words for words in ours.values() if PASSWORD in words]
    assert not (folder / "step-ran").exists()
    assert {"count": 3, "because": "--workers asks for 3"} == apart["workers"]
    assert ["404"] == list(apart["answers"])
    assert (False, None) == (together["safe"], together["fitting"])
    assert together["note"].startswith("not safe: the import has left what a fork breaks: the thread 'poller-4711'")
    assert [] == [text for text in document["warnings"] if "4711" in text]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_when_it_is_ended(launch: Launch, project: MakeProject, signum: signal.Signals) -> None:
    """In the middle of an import that hangs: a few seconds later no process and no folder of it is there."""
    folder, others = application(project, first=HANGS), trial_folders()
    launched = launch("plan", "main:app", "--measure", cwd=folder, allow_strays=signum == signal.SIGKILL)
    until((folder / "imported").exists, "the import", PATIENCE_S)
    mine = {path for path in trial_folders() - others if (Path(path) / "socket").exists()}
    os.kill(launched.pid, signum)
    status = launched.wait()
    until(lambda: not processes(folder), "the end of the trial", 15)
    until(lambda: not any(Path(path).exists() for path in mine), "the end of its folder", 15)

    assert mine
    assert status == (-9 if signum == signal.SIGKILL else 128 + signum)


def test_the_limit_is_the_groups(group: MemoryGroup, launch: Launch, project: MakeProject) -> None:
    """In a group of 500 MiB the sum begins with them; uvicorn is tried there, and said not to preload."""
    group.limit(500 << 20)
    apart, together = measured(launch, application(project, 60), "--server", "uvicorn", before=group.inside)

    assert {"name": "limit", "bytes": 500 << 20} == {name: apart["regions"][0][name] for name in ("name", "bytes")}
    assert 2 <= apart["fitting"] <= 4
    assert ("uvicorn cannot preload, --server gunicorn can", None) == (together["note"], together["fitting"])
    assert 0 == group.oom_kills


def test_more_than_the_limit_is_said(group: MemoryGroup, launch: Launch, project: MakeProject) -> None:
    """200 MB in a group of 150 MiB: killed for memory is what the table says."""
    group.limit(150 << 20)
    ways = measured(launch, application(project, 200), before=group.inside)

    assert [None, None] == [way["fitting"] for way in ways]
    assert all(way["note"].startswith("it was killed for memory") for way in ways)
    assert group.oom_kills >= 1


# What it is to leave to itself: a child that stays, and a service that has this pid file.
ROUGH = """
import subprocess
subprocess.Popen(["sleep", "987.4711"], start_new_session=True)
"""
SIGNS_OFF = APP.replace(
    """            await send({{"type": message["type"] + ".complete"}})
""",
    """            if message["type"] == "lifespan.shutdown":
                await asyncio.sleep(1.5)
            with open("register", "a") as register:
                register.write(message["type"] + chr(10))
            await send({{"type": message["type"] + ".complete"}})
""",
).replace("import pathlib\n", "import asyncio, pathlib\n", 1)
CONFIGURATION = """
errorlog = "error.log"
pidfile = "service.pid"
max_requests = 20
"""


def test_what_gunicorns_own_configuration_says_is_not_done_to_others(launch: Launch, project: MakeProject) -> None:
    """No log in the project, the service's pid file stays, nobody is replaced while it is measured.

    Its lifespan may take its time to sign off, and a child that it starts and forgets is ended with it.
    """
    pid = f"{os.getpid()}\n"
    written = {"main.py": SIGNS_OFF.format(first=ROUGH), "held": "1", "gunicorn.conf.py": CONFIGURATION}
    folder = project({**written, "service.pid": pid})
    apart, together = measured(launch, folder)
    register = (folder / "register").read_text().split()

    assert [False, False] == [way["provisional"] for way in (apart, together)]
    assert (pid, False) == ((folder / "service.pid").read_text(), (folder / "error.log").exists())
    assert register.count("lifespan.startup") == register.count("lifespan.shutdown") > 0
    assert {} == processes(folder)


def test_what_is_known_beforehand_is_not_tried(launch: Launch, project: MakeProject) -> None:
    """A word for the server that is refused: it is a problem of the plan, once, and nothing is imported."""
    folder = application(project, first="pathlib.Path('imported').touch()")
    launched = launch("plan", "main:app", "--json", "--measure", "--", "--bind", "127.0.0.1:1", cwd=folder)
    document = ended(launched)

    assert ["server"] == [problem["part"] for problem in document["problems"]]
    assert all(way["note"].startswith("it cannot be started: --bind after `--`") for way in document["measured"])
    assert not (folder / "imported").exists()
