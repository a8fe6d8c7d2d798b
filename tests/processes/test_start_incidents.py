"""Is a start that failed on record, and does everybody who asked hear of it before the process ends?"""

from __future__ import annotations

import fcntl
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from support.commands import toml
from support.pool import linux_only
from support.serving import APP
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = linux_only

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/reference/crash-report.schema.json").read_text())
SECRETS = ("geheim", "s3cret")
FAILS = """
import sys
print("the first line")
for _ in range(20):
    print("a long line " * 30)
print("to postgresql://app:geheim@db/orders, password=s3cret")
print("the last line")
sys.exit(3)
"""
LISTENS = """
import pathlib
def launcher_incident(report):
    pathlib.Path("heard").write_text(f"{report.id} {report.kind}")
"""
HANGS = """
import pathlib, time
def launcher_incident(report):
    pathlib.Path("begun").touch()
    time.sleep(600)
"""
WAITS = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(600)"
KEPT = 'crash_dir = "crashes"\ntermination_log = "last-words"\n'
STEP = 'run = "{python} step.py"'
DELIVERED_WITHIN_S = 5.0
SLACK_S = 3.0  # this machine may be busy
AT_ONCE_S = 3.0
# Two seconds for the wait, the rest for its Python to start.
UNREACHED = 'name = "there"\nwait-for = "tcp://127.0.0.1:1"\ntimeout = "3s"'


def failing(project: MakeProject, *, plugin: str = "", step: str = FAILS, head: str = KEPT) -> Path:
    """Return a project with a step, and with a plugin if there is to be one."""
    head += 'plugins = ["reporter"]\n' if plugin else ""
    files = {"main.py": APP, "step.py": step, "reporter.py": plugin, "launcher.toml": toml(STEP, head=head)}
    return project(files)


def started(launch: Launch, folder: Path, *words: str) -> Launched:
    """Start a server."""
    return launch("run", "--port", str(free_port()), *words, cwd=folder)


def reports(folder: Path) -> list[dict[str, Any]]:
    """Return what is kept, the oldest first; the schema holds for all of it."""
    found = [json.loads(path.read_text()) for path in sorted((folder / "crashes").glob("*.json"))]
    for report in found:
        jsonschema.validate(report, SCHEMA)
    return found


def all_that_was_written(folder: Path, launched: Launched) -> str:
    """Return it as one text: reports, termination log, log."""
    files = [*(folder / "crashes").iterdir(), folder / "last-words"]
    return "".join([*(path.read_text() for path in files if path.exists()), launched.stdout, launched.stderr])


@pytest.mark.parametrize("words", [("run", "--port", "0"), ("prestart",)], ids=["run", "prestart"])
def test_a_step_that_fails(launch: Launch, project: MakeProject, words: tuple[str, ...]) -> None:
    """Exit 10; report, termination log and plugin have it, with the end of its output, when the process ended."""
    folder = failing(project, plugin=LISTENS)
    launched = launch(*words, cwd=folder)
    code = launched.wait()
    (report,) = reports(folder)
    event = launched.event("launcher.incident_reported") or {}
    last_words = (folder / "last-words").read_text()

    assert 10 == code
    assert ("step-failed", 10, "the last line") == (report["kind"], report["exit_code"], report["last_log"][-1])
    assert f"{report['id']} step-failed" == (folder / "heard").read_text()
    assert (report["id"], "step-failed") == (event["id"], event["kind"])
    assert str(folder / "crashes" / f"{report['id']}.json") == event["path"]
    assert "asgi-launcher: gave up, exit code 10: pre-start step 'run' failed with exit code 3" in last_words
    assert "| the last line" in last_words
    assert [] == [secret for secret in SECRETS if secret in all_that_was_written(folder, launched)]
    assert [] == list((folder / "crashes").glob("run-*"))


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[str]:
    """Hold a lock."""
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield f"file:{path}"


def test_a_lock_that_is_not_obtained(launch: Launch, project: MakeProject, taken: str) -> None:
    """75, and a report of its kind."""
    folder = failing(project)
    launched = started(launch, folder, "--lock", taken, "--lock-timeout", "300ms")

    assert 75 == launched.wait()
    assert [("lock-unavailable", 75)] == [(report["kind"], report["exit_code"]) for report in reports(folder)]


@pytest.mark.parametrize(
    ("step", "words", "kind", "code"),
    [
        (STEP, ("--memory", "64M", "--worker-memory-estimate", "500M"), "memory-refused", 12),
        (UNREACHED, (), "dependency-down", 69),
    ],
    ids=["memory", "dependency"],
)
def test_what_else_ends_a_start(
    launch: Launch, project: MakeProject, step: str, words: tuple[str, ...], kind: str, code: int
) -> None:
    """Its exit code, and a report of its kind with the same title."""
    folder = project({"main.py": APP, "step.py": FAILS, "launcher.toml": toml(step, head=KEPT)})
    launched = started(launch, folder, *words)
    ended = launched.wait()
    (report,) = reports(folder)
    said = launched.event("launcher.start_failed") or {}

    assert code == ended
    assert (kind, code, said["message"]) == (report["kind"], report["exit_code"], report["title"])


def test_a_setting_that_cannot_be_is_no_incident(launch: Launch, project: MakeProject) -> None:
    """2, no report; the platform is told all the same."""
    folder = failing(project)
    launched = started(launch, folder, "--server", "none")

    assert 2 == launched.wait()
    assert [] == list((folder / "crashes").iterdir())
    assert "gave up, exit code 2: " in (folder / "last-words").read_text()


def test_being_told_to_stop_is_no_incident(launch: Launch, project: MakeProject) -> None:
    """143, no report, and nothing from which the next start would take this run for one that was killed."""
    folder = failing(project, step=WAITS)
    launched = started(launch, folder)
    until((folder / "begun").exists, "the step", 20)
    until(lambda: list((folder / "crashes").glob("run-*")), "the monitor's marker of this run", 20)
    launched.signal(signal.SIGTERM)

    assert 143 == launched.wait()
    assert [] == list((folder / "crashes").iterdir())
    assert "asgi-launcher: stopped: " in (folder / "last-words").read_text()


def test_a_folder_that_takes_nothing(launch: Launch, project: MakeProject) -> None:
    """It is said at the start and of the report, whose exit code stays; so it is of a termination log."""
    folder = failing(project, head='crash_dir = "/proc/crashes"\ntermination_log = "/proc/words"\n')
    launched = started(launch, folder)
    code = launched.wait()
    said = launched.event("launcher.crash_folder_refused") or {}
    reported = launched.event("launcher.incident_reported") or {}

    assert 10 == code
    assert "/proc/crashes" in said["because"]
    assert "/proc/words" in (launched.event("launcher.termination_log_refused") or {})["because"]
    assert ("step-failed", "", "warning") == (reported["kind"], reported["path"], reported["level"])
    assert "/proc/crashes" in reported["because"]


def test_a_plugin_that_hangs(launch: Launch, project: MakeProject) -> None:
    """The error is said at once, the end is 5 s later with its own exit code, and the next run owes the plugin one."""
    folder = failing(project, plugin=HANGS)
    launched = started(launch, folder)
    launched.wait_event("launcher.start_failed")
    began = time.monotonic()
    code = launched.wait(DELIVERED_WITHIN_S + SLACK_S)
    took_s = time.monotonic() - began

    assert 10 == code
    assert (folder / "begun").exists()
    assert DELIVERED_WITHIN_S - 1 < took_s
    assert [f"{report['id']}.pending" for report in reports(folder)] == [
        path.name for path in (folder / "crashes").glob("*.pending")
    ]


def test_a_signal_ends_the_wait_for_a_plugin(launch: Launch, project: MakeProject) -> None:
    """At once, with the exit code of what had failed before."""
    folder = failing(project, plugin=HANGS)
    launched = started(launch, folder)
    until((folder / "begun").exists, "the plugin is told", 20)
    began = time.monotonic()
    launched.signal(signal.SIGTERM)

    assert 10 == launched.wait()
    assert AT_ONCE_S > time.monotonic() - began
    assert ["step-failed"] == [report["kind"] for report in reports(folder)]
