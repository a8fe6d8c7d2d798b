"""Does `launcher crashes` say why something died, to people and to programs?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from launcher.incidents.report import new_report
from launcher.incidents.store import Store
from support.monitor import Monitored, handmade, start
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.spawning import Launch, Spawner

DEATH: dict[str, Any] = {
    "verdict": "oom",
    "evidence": ["oom_kill of its control group went from 0 to 1"],
    "pid": 4711,
    "number": 3,
    "slot": 0,
    "stage": "ready",
    "age_s": 90.0,
    "wait_status": {"signal": "SIGKILL"},
    "in_flight": [{"method": "GET", "path": "/eat?token=geheim", "age_s": 2.5}],
    "more_in_flight": 4,
    "memory": {
        "samples": [{"age_s": 0.4, "private_bytes": 100 << 20, "shared_bytes": 1 << 20}],
        "group": {"usage_bytes": 200 << 20, "limit_bytes": 256 << 20},
        "counters": {"oom_kill": [0, 1]},
    },
    "stacks": 'File "main.py", line 7 in eat',
    "last_log": ["eating \x1b[31mall of it"],
    "merged": 2,
}


def ended(launch: Launch, *words: str, **env: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of `launcher crashes`."""
    launched = launch("crashes", *words, env={"LAUNCHER_RUNTIME_DIR": None, **env})
    return launched.wait(), launched.stdout, launched.stderr


def test_a_folder_is_read(launch: Launch, tmp_path: Path) -> None:
    """The list has a line for each, the newest first; a page says all; JSON is the reports; an unknown ID is 2."""
    folder = tmp_path / "crashes"
    reports = [new_report("crash", "worker 3 was killed for memory", **DEATH), new_report("step-failed", "no seed")]
    for report in reports:
        Store(folder).keep(report)
    here = ("--crash-dir", str(folder))
    code, listed, _ = ended(launch, *here)
    page = ended(launch, reports[0]["id"], *here)[1]
    as_json = json.loads(ended(launch, "--json", *here)[1])
    one = json.loads(ended(launch, reports[1]["id"], "--json", *here)[1])
    unknown = ended(launch, "nothing", *here)

    assert 0 == code
    assert [reports[1]["id"], reports[0]["id"]] == [line.split()[0] for line in listed.splitlines()[2:] if line]
    assert "worker 3 was killed for memory (and 2 like it)" in listed
    for text in (
        *("crash, oom, certain", "went from 0 to 1", "pid 4711", "signal SIGKILL", "GET /eat for 2.5 s", "4 more"),
        *(
            "0.4 s before: 100 MiB private",
            "200 MiB of 256 MiB",
            "oom_kill: 0 then 1",
            "line 7 in eat",
            "eating ?[31mall",
        ),
    ):
        assert text in page
    assert "geheim" not in page
    assert list(reversed(reports)) == as_json
    assert reports[1] == one
    assert (2, "") == unknown[:2]
    assert "no report 'nothing'" in unknown[2]


def test_nothing_is_no_error(launch: Launch, tmp_path: Path) -> None:
    """An empty folder is said; one that is not there, and two places at once, are wrong usage."""
    nothing = ended(launch, "--crash-dir", str(tmp_path))
    configured = ended(launch, LAUNCHER_CRASH_DIR=str(tmp_path / "of-the-settings"))

    assert (0, f"no crash reports in {tmp_path}\n") == nothing[:2]
    assert (0, f"no crash reports in {tmp_path / 'of-the-settings'}\n") == configured[:2]
    assert 2 == ended(launch, "--crash-dir", str(tmp_path / "gone"))[0]
    assert 2 == ended(launch, "--crash-dir", str(tmp_path), "--pid", "1")[0]


@pytest.fixture(params=["disk", "memory"])
def monitored(spawn: Spawner, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Monitored]:
    """Start a monitor that keeps reports on disk, or in memory."""
    folder = str(tmp_path / "crashes") if request.param == "disk" else ""
    running = start(spawn, handmade(tmp_path, incidents={"folder": folder, "because": "" if folder else "read-only"}))
    yield running
    running.process.popen.kill()
    running.close()


def test_a_launcher_that_runs_is_asked(monitored: Monitored, launch: Launch) -> None:
    """Where its reports are is its own knowledge; what it has in memory is shown as what is on disk."""
    report = new_report("crash", "worker 3 was killed for memory", **DEATH)
    monitored.server.send({"incident": report})
    until(lambda: monitored.json("/crashes")["crashes"], "the report")
    socket = ("--socket", str(monitored.path))
    code, listed, stderr = ended(launch, *socket)
    one = json.loads(ended(launch, report["id"], "--json", *socket)[1])

    assert 0 == code
    assert report["id"] in listed
    assert report == one
    assert ("" if monitored.extra["incidents"]["folder"] else "read-only\n") == stderr
