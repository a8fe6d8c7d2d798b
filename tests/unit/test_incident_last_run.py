"""Is a run that ended without a word reported by the next one, and one that lives never?"""

from __future__ import annotations

import fcntl
import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.incidents.last_run import SEEN_EVERY_S, SILENT_S, LastRun
from support.pool import linux_only
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[[], subprocess.Popen[str]]

LIVES = """
import os, sys
from pathlib import Path
from launcher.incidents.last_run import LastRun

run = LastRun(Path(sys.argv[1]))
facts = {"launcher_pid": os.getpid(), "app": "main:app", "release": "7", "oom_kill": 4, "versions": {"python": "3"}}
found = run.begin(facts)
run.seen(workers_ready=3, oom_group=True, memory={"group": {"usage_bytes": 5, "limit_bytes": 9}}, secret="no")
print("none" if found is None else found["launcher_pid"], flush=True)
if sys.stdin.readline() == "end\\n":
    run.end()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts a launcher that has begun when it is returned; its first line is what it found."""
    started: list[subprocess.Popen[str]] = []

    def launcher() -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", LIVES, str(tmp_path)]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        return process

    yield launcher
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def told(process: subprocess.Popen[str]) -> str:
    """Return what a launcher has found."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def begin(folder: Path, **other: Any) -> dict[str, Any] | None:
    """Begin a run of the same application here, and end it as it should; return what it has found."""
    facts = {"launcher_pid": os.getpid(), "app": "main:app", "cwd": str(folder), "oom_kill": 4}
    run = LastRun(folder)
    found = run.begin(facts | other)
    assert "" == run.because
    run.end()
    return found


def markers(folder: Path) -> list[Path]:
    """Return the markers that are there."""
    return sorted(folder.glob("run-*.json"))


def left_behind(folder: Path, **other: Any) -> Path:
    """Leave the marker of a run whose process has ended, which was as `other` says."""
    apart = folder / "apart"  # it would find those that are there
    apart.mkdir()
    run = LastRun(apart)
    run.begin({"launcher_pid": os.getpid(), "app": "main:app", "cwd": str(folder)})
    (path,) = markers(apart)
    marker = json.loads(path.read_text(encoding="utf-8")) | {"start": "1"} | other
    run.end()
    apart.rmdir()
    path = folder / f"{path.name[:-13]}{len(markers(folder)):08x}.json"
    path.write_text(json.dumps(marker), encoding="utf-8")
    return path


def test_a_killed_run_is_reported(tmp_path: Path, start: Start) -> None:
    """By the next start, once, with what was last known of it; nothing is left behind."""
    killed = start()
    told(killed)
    killed.kill()
    killed.wait(timeout=30)
    found = begin(tmp_path)

    assert found is not None
    assert ("unclean-end", "unknown", "certain", killed.pid) == tuple(
        found[key] for key in ("kind", "verdict", "confidence", "launcher_pid")
    )
    assert ("main:app", "7", {"python": "3"}) == tuple(found[key] for key in ("app", "release", "versions"))
    assert {"usage_bytes": 5, "limit_bytes": 9} == found["memory"]["group"]
    assert {"oom_kill": [4, 4]} == found["memory"]["counters"]
    assert any(line.startswith("3 of its workers were ready") for line in found["evidence"])
    assert any("memory.oom.group is set" in line for line in found["evidence"])
    assert (None, []) == (begin(tmp_path), markers(tmp_path))


def test_a_run_that_ended_as_it_should_is_not(tmp_path: Path, start: Start) -> None:
    """It removes its marker."""
    ended = start()
    told(ended)
    ended.communicate("end\n", timeout=30)

    assert ([], None) == (markers(tmp_path), begin(tmp_path))


def test_replicas_do_not_accuse_each_other(tmp_path: Path, start: Start) -> None:
    """Launchers that live share the folder; of those that were killed each is reported by one of the next only."""
    first, second = start(), start()

    assert ["none", "none"] == [told(first), told(second)]
    first.kill()
    first.wait(timeout=30)
    third, fourth = start(), start()
    assert sorted(["none", str(first.pid)]) == sorted([told(third), told(fourth)])
    assert 3 == len(markers(tmp_path))


def test_one_that_nobody_has_waited_for_has_ended(tmp_path: Path, start: Start) -> None:
    """A zombie is no process that could still say something."""
    killed = start()
    told(killed)
    killed.kill()
    until(lambda: os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT), "it has ended")

    assert killed.pid == (begin(tmp_path) or {})["launcher_pid"]


def test_the_kernels_count_tells(tmp_path: Path, start: Start) -> None:
    """When it has grown since, it was probably memory; without the count of both times nothing is said of memory."""
    killed = start()
    told(killed)
    killed.kill()
    killed.wait(timeout=30)
    found = begin(tmp_path, oom_kill=5) or {}

    assert ("oom", "probable") == (found["verdict"], found["confidence"])
    assert any("went from 4 to 5" in line for line in found["evidence"])
    left_behind(tmp_path, oom_kill=None)
    found = begin(tmp_path, oom_kill=5) or {}
    assert ("unknown", {"oom_kill": None}) == (found["verdict"], found["memory"]["counters"])


def test_several_are_one_report(tmp_path: Path) -> None:
    """The latest; the others are counted."""
    left_behind(tmp_path, last_seen=5.0)
    left_behind(tmp_path, last_seen=7.0, workers_ready=1)
    left_behind(tmp_path, last_seen=6.0, workers_ready=1, oom_kill=1)
    found = begin(tmp_path) or {}

    assert ("1970-01-01T00:00:07.000000Z" in found["title"], 2) == (True, found["merged"])


def test_another_application_is_left_alone(tmp_path: Path) -> None:
    """Another name, another folder, another file: its own next start will report it."""
    path = left_behind(tmp_path)

    assert [None, None] == [begin(tmp_path, app="other:app"), begin(tmp_path, cwd="/elsewhere")]
    assert [path] == markers(tmp_path)


@pytest.mark.parametrize(
    ("other", "confidence", "because"),
    [
        ({"boot_id": "another"}, "probable", "this host was started again since"),
        ({"pids": "pid:[1]"}, "probable", "another container"),
        ({"boot_id": "another", "host": "gone", "last_seen": 0.0}, "probable", "on another host, gone"),
    ],
    ids=["host restarted", "container restarted", "another host, silent"],
)
def test_what_cannot_be_seen_from_here(tmp_path: Path, other: dict[str, Any], confidence: str, because: str) -> None:
    """A process of before the boot, of another container or host is not looked for; the evidence says so."""
    left_behind(tmp_path, **other)
    found = begin(tmp_path) or {}

    assert confidence == found["confidence"]
    assert any(because in line for line in found["evidence"])


def test_another_container_is_believed_while_it_holds_its_lock(tmp_path: Path) -> None:
    """Its process cannot be seen; the lock can. One of another host, where it may not reach, is not silent, too."""
    import fcntl

    path = left_behind(tmp_path, pids="pid:[1]")
    with path.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert begin(tmp_path) is None
    distant = left_behind(tmp_path, pids="pid:[1]", boot_id="another", host="distant")

    assert "another container" in "".join((begin(tmp_path) or {})["evidence"])
    assert (None, [distant]) == (begin(tmp_path), markers(tmp_path))


def test_silence_is_a_minute(tmp_path: Path) -> None:
    """Of another host's run; by the clock that both write."""
    now = 1_000_000.0
    left_behind(tmp_path, boot_id="another", host="distant", last_seen=now)
    facts = {"launcher_pid": os.getpid(), "app": "main:app", "cwd": str(tmp_path)}

    assert LastRun(tmp_path, now=lambda: now + SILENT_S - 1).begin(facts) is None
    assert LastRun(tmp_path, now=lambda: now + SILENT_S).begin(facts) is not None


def test_a_new_monitor_takes_the_marker_over(tmp_path: Path) -> None:
    """The launcher is the same, so it is not accused, and has begun when it has begun."""
    facts = {"launcher_pid": os.getpid(), "app": "main:app"}
    first, second = LastRun(tmp_path, now=lambda: 100.0), LastRun(tmp_path, now=lambda: 200.0)

    assert (None, None) == (first.begin(facts), second.begin(facts))
    marker = json.loads(markers(tmp_path)[0].read_text(encoding="utf-8").splitlines()[0])
    assert (1, 100.0, 200.0) == (len(markers(tmp_path)), marker["started_at"], marker["last_seen"])
    second.end()
    assert [] == markers(tmp_path)


def test_it_is_noted_every_ten_seconds(tmp_path: Path) -> None:
    """The first word at once, then at most every 10 s; also after the clock was set back. A shorter one is whole."""
    times = iter([0.0, 1.0, 2.0, 1.0 + SEEN_EVERY_S, 5.0])
    run = LastRun(tmp_path, now=lambda: next(times))
    run.begin({"launcher_pid": os.getpid(), "app": "main:app"})
    noted = []
    for ready in (1, 2, 3, 4):
        run.seen(workers_ready=ready, memory={"group": {"usage_bytes": 10 ** (20 - 5 * ready)}})
        noted.append(json.loads(markers(tmp_path)[0].read_text(encoding="utf-8"))["workers_ready"])
    run.end()

    assert [1, 1, 3, 4] == noted


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"app": "main:app"}', "\x00" * 100], ids=ascii)
def test_what_is_no_marker_is_left_alone(tmp_path: Path, content: str) -> None:
    """A run that begins in this moment has an empty one."""
    path = left_behind(tmp_path)
    path.write_text(content, encoding="utf-8")

    assert (None, [path]) == (begin(tmp_path), markers(tmp_path))


WRONG: list[dict[str, Any]] = [{"last_seen": math.inf}, {"started_at": 1e300}, {"memory": [1]}, {"x": "DEEP"}]


@pytest.mark.parametrize("wrong", WRONG, ids=[next(iter(one)) for one in WRONG])
def test_what_cannot_be_told_is_left_alone(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """And hides nothing: the marker beside it is told."""
    path = left_behind(tmp_path, **wrong)
    path.write_text(path.read_text(encoding="utf-8").replace('"DEEP"', "[" * 20_000), encoding="utf-8")
    left_behind(tmp_path)

    assert (os.getpid(), [path]) == ((begin(tmp_path) or {})["launcher_pid"], markers(tmp_path))


@linux_only
def test_one_whose_monitor_still_ends_is_found(tmp_path: Path) -> None:
    """The monitor holds the lock for a moment after its launcher was killed; that launcher is seen to be gone."""
    with left_behind(tmp_path).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        assert os.getpid() == (begin(tmp_path) or {})["launcher_pid"]


def test_one_that_was_killed_while_it_wrote_is_found(tmp_path: Path) -> None:
    """Behind the new words stands the end of longer ones that were there before."""
    path = left_behind(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + '\nold": 1}\n', encoding="utf-8")

    assert os.getpid() == (begin(tmp_path) or {})["launcher_pid"]


@linux_only
def test_a_full_disk_keeps_no_half_of_a_marker(tmp_path: Path) -> None:
    """There is a reason, and no empty file that each further run would add to."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most[1]))
    try:
        run = LastRun(tmp_path)
        run.begin({"launcher_pid": os.getpid(), "cwd": str(tmp_path)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)

    assert (True, []) == (bool(run.because), markers(tmp_path))


def test_it_never_raises(tmp_path: Path) -> None:
    """No folder, a file in its place, facts that are none: no marker, and a reason."""
    (tmp_path / "file").touch()
    runs = [LastRun(None), LastRun(tmp_path / "file"), LastRun(tmp_path)]
    wrong: list[dict[str, Any]] = [{}, {"launcher_pid": 1}, {"launcher_pid": "x"}]
    for run, facts in zip(runs, wrong, strict=True):
        assert run.begin(facts) is None
        run.seen(workers_ready=1)
        run.end()

    assert [True, True, True] == [bool(run.because) for run in runs]
