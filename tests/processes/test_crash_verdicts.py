"""Is every death of a worker put down to what it was?

Several deaths in one server: its start is what costs the time.
"""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from support.launched import http_get
from support.pool import APP, Pool, both_servers, noted, start_pool
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject
    from support.spawning import Launch

MORE = """
async def reads_address_zero() -> None:
    ctypes.string_at(0)


async def aborts() -> None:
    os.abort()


async def exits() -> None:
    os._exit(7)


async def leaves_in_a_task() -> None:
    import sys

    async def leave() -> None:
        sys.exit(5)

    await asyncio.create_task(leave())


HANDLERS |= {"/null": reads_address_zero, "/abort": aborts, "/exit": exits, "/leave": leaves_in_a_task}
"""
REFUSES = """
async def app(scope, receive, send):
    await receive()
    message = "the lifespan refuses, postgresql://app:S3kr-4711@db/x"
    await send({"type": "lifespan.startup.failed", "message": message})
"""
RAISES = "app = None\nimport no_such_module_of_anybody\n"
GONE = "app = None\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
HANGS_IN_IMPORT = """
import time

app = None

def hangs_in_import():
    time.sleep(60)

hangs_in_import()
"""
HANGS_IN_LIFESPAN = """
import asyncio

async def hangs_in_lifespan():
    await asyncio.sleep(60)

async def app(scope, receive, send):
    await hangs_in_lifespan()
"""
DIES = """
import threading
threading.Timer(1, lambda: os._exit(7)).start()
"""
# What each path ends with: verdict, kind and wait status of the report, and what has to be in its stacks.
DEATHS: dict[str, tuple[str, dict[str, object], str]] = {
    "null": ("native-crash", {"signal": "SIGSEGV"}, "in reads_address_zero"),
    "abort": ("native-crash", {"signal": "SIGABRT"}, "in aborts"),
    "exit": ("exited", {"code": 7}, ""),
    "leave": ("exited", {"code": 5}, ""),
    "block": ("hang", {"signal": "SIGABRT"}, "in blocks_the_loop"),
}
# What each start ends with: the verdict over its workers, and words in the reports.
BOOTS = {
    "import": ("boot-failed", "no_such_module_of_anybody"),
    "lifespan": ("boot-failed", "the lifespan refuses"),
    "killed": ("killed", ""),
    "hang-import": ("boot-hang", "in hangs_in_import"),
    "hang-lifespan": ("boot-hang", "in hangs_in_lifespan"),
}
APPS = {
    "import": RAISES,
    "lifespan": REFUSES,
    "killed": GONE,
    "hang-import": HANGS_IN_IMPORT,
    "hang-lifespan": HANGS_IN_LIFESPAN,
}


def reports(folder: Path) -> list[dict[str, Any]]:
    """Return the reports on disk, the oldest first."""
    return [json.loads(path.read_text()) for path in sorted((folder / "crashes").glob("2*.json"))]


def reported(folder: Path, count: int) -> list[dict[str, Any]]:
    """Return them as soon as there are so many."""
    until(lambda: len(reports(folder)) >= count, f"{count} reports", 20)
    return reports(folder)


def start(launch: Launch, folder: Path, server: str, *words: str, workers: int) -> Pool:
    """Start a server that never gives up, and keeps reports beside its application."""
    told = ("--crash-dir", str(folder / "crashes"), "--runtime-dir", str(folder / "run"), "--restart-intensity", "99")
    return start_pool(launch, folder, server, *told, *words, workers=workers)


def provoke(pool: Pool, folder: Path, word: str) -> None:
    """Have a worker that still answers do it; return when one does."""
    before = noted(folder)[word]
    path, patient = f"/{word}?token=secret-4711", {"timeout_s": 30}
    threading.Thread(target=http_get, args=(pool.port, path), kwargs=patient, daemon=True).start()
    pool.until(lambda: noted(folder)[word] > before, word)


@both_servers
def test_deaths(launch: Launch, project: MakeProject, server: str) -> None:
    """Six ways to die, one to hang at the end, two that are no death: verdict, evidence and function of each."""
    folder = project({"main.py": APP.replace("\n\nasync def lifespan", f"{MORE}\n\nasync def lifespan", 1)})
    pool = start(launch, folder, server, "--worker-timeout", "3s", "--graceful-timeout", "6s", workers=7)
    pids = pool.ready(7)
    pool.kill(min(pids))
    pool.seen("worker_died", 1)
    for word in DEATHS:
        provoke(pool, folder, word)
    events = {event["report"]: event for event in pool.seen("worker_died", 6)}
    found = {report["id"]: report for report in reported(folder, 6)}
    by_end = {(report["verdict"], str(report["wait_status"])): report for report in found.values()}

    assert found.keys() == events.keys()
    for word, (verdict, status, stack) in DEATHS.items():
        report = by_end.pop((verdict, str(status)))
        assert ("certain", "crash") == (report["confidence"], report["kind"])
        assert stack in report["stacks"], report
        assert report["evidence"]
        named = [(request["method"], request["path"]) for request in report["in_flight"]]
        assert [("GET", f"/{word}")] == named or word == "leave"  # it has left the request before
    (killed,) = by_end.values()
    assert (min(pids), "killed", "certain", {"signal": "SIGKILL"}) == tuple(
        killed[key] for key in ("pid", "verdict", "confidence", "wait_status")
    )
    assert [1, 2, 3, 4, 5] == sorted(report["restarts_in_window"] for report in found.values())[:5]
    ends(pool, folder)


def ends(pool: Pool, folder: Path) -> None:
    """End it with a worker that is recycled and one that hangs: of the first there is no report."""
    before = {report["id"] for report in reports(folder)}
    for count in range(1, 6):
        pool.tell(signal.SIGTTOU)
        pool.seen("pool_resized", count)
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded", timeout_s=60)
    recycled = {event["pid"] for event in pool.named("worker_stopped", because="reload")}
    provoke(pool, folder, "block")
    code = pool.end()
    (hung,) = [report for report in reports(folder) if report["id"] not in before]

    assert 0 == code
    assert recycled
    assert ("hang", "certain", "crash") == tuple(hung[key] for key in ("verdict", "confidence", "kind"))
    assert "in blocks_the_loop" in hung["stacks"]
    assert "asked to leave (stop)" in hung["evidence"][0]
    everything = pool.launched.stderr + json.dumps(reports(folder))
    assert "out of memory" not in everything.lower()
    assert "secret-4711" not in everything
    assert [] == [report["id"] for report in reports(folder) if report["verdict"] in {"oom", "unknown"}]


@both_servers
def test_starts(launch: Launch, project: MakeProject, server: str) -> None:
    """What cannot be imported, refuses, is killed, or hangs while it starts: a report of each boot, and of the end."""
    folders = {name: project({"main.py": text}, name) for name, text in APPS.items()}
    pools = {
        name: start(launch, folder, server, "--startup-timeout", "2s" if "hang" in name else "30s", workers=2)
        for name, folder in folders.items()
    }
    codes = {name: pool.launched.wait(timeout_s=60) for name, pool in pools.items()}
    found = {name: reports(folder) for name, folder in folders.items()}

    assert dict.fromkeys(APPS, 3) == codes
    for name, (verdict, words) in BOOTS.items():
        boots = [report for report in found[name] if report["kind"] == "boot-failed"]
        (end,) = [report for report in found[name] if report["kind"] == "start-failed"]
        assert {(verdict, "certain")} == {(report["verdict"], report["confidence"]) for report in boots}, boots
        assert 2 == sum(1 + report["merged"] for report in boots)
        assert 3 == end["exit_code"]
        assert words in boots[0]["stacks"]
        assert words in end["title"] or verdict == "boot-hang"
    assert "S3kr-4711" not in json.dumps(found)


def test_a_crash_loop_without_a_monitor(launch: Launch, project: MakeProject) -> None:
    """The server keeps the reports itself: of each death, and of its own end."""
    folder = project({"main.py": APP + DIES})
    words = ("--crash-dir", str(folder / "crashes"), "--no-monitor")
    pool = start_pool(launch, folder, "gunicorn", *words, workers=3)
    code = pool.launched.wait()
    deaths = pool.named("worker_died")
    *crashes, end = reports(folder)

    assert 70 == code == end["exit_code"]
    assert ("crash-loop", None) == (end["kind"], end["verdict"])
    assert {event["report"] for event in deaths} == {report["id"] for report in crashes}
    assert all(report["title"] in end["evidence"] for report in crashes)


@pytest.mark.parametrize("name", ["import", "leave"])
def test_one_process(launch: Launch, project: MakeProject, name: str) -> None:
    """One uvicorn without a supervisor reports what it can of its own end, and ends as it would."""
    folder = project({"main.py": RAISES if name == "import" else f"{APP}{MORE}"})
    places = ("--crash-dir", str(folder / "crashes"), "--runtime-dir", str(folder / "run"))
    pool = start_pool(launch, folder, "uvicorn", *places, workers=1)
    if name == "leave":
        pool.asked()
        provoke(pool, folder, name)
    code = pool.launched.wait()
    (report,) = reports(folder)

    assert {"import": 3, "leave": 5}[name] == code == report["exit_code"]
    assert {"import": ("start-failed", "boot-failed"), "leave": ("crash", "exited")}[name] == (
        report["kind"],
        report["verdict"],
    )
    assert ("no_such_module_of_anybody" in report["stacks"]) == (name == "import")
