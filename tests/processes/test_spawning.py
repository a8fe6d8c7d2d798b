"""Is everything a test started gone after it, and does the test hear of what was left behind?"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from support.spawning import Spawner
from support.waiting import free_port, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject

FOREVER = "import time; time.sleep(600)"
# A daemon as the books have it: another session, its parent gone.
LEAVE_A_DAEMON = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}], start_new_session=True)
print(child.pid)
"""
LEAVE_A_NAKED_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}], env={{}})
print(child.pid)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(600)"


@pytest.mark.parametrize("script", [LEAVE_A_DAEMON, LEAVE_A_NAKED_CHILD], ids=["new-session", "no-environment"])
def test_strays_fail_the_test_and_die(tmp_path: Path, script: str) -> None:
    """What left the session or lost its environment is found, named and killed."""
    spawner = Spawner(tmp_path / "own")
    launched = spawner([sys.executable, "-c", script])
    launched.wait()
    stray = int(launched.stdout)

    with pytest.raises(AssertionError, match=f"left behind .*{stray} "):
        spawner.end()
    assert not running(stray)


def test_allowed_strays_die_all_the_same(tmp_path: Path) -> None:
    """A test that kills a launcher may leave its tree: it is killed without a complaint."""
    spawner = Spawner(tmp_path / "own")
    launched = spawner([sys.executable, "-c", LEAVE_A_DAEMON], allow_strays=True)
    launched.wait()

    spawner.end()

    assert not running(int(launched.stdout))


def test_a_server_still_running_is_stopped(tmp_path: Path) -> None:
    """A test need not stop what it started: it is asked to end with SIGTERM."""
    spawner = Spawner(tmp_path / "own")
    launched = spawner([sys.executable, "-c", FOREVER])

    spawner.end()

    assert -signal.SIGTERM == launched.wait()


def test_the_deaf_are_killed(tmp_path: Path) -> None:
    """What does not end on SIGTERM is killed."""
    spawner = Spawner(tmp_path / "own")
    launched = spawner([sys.executable, "-c", DEAF])
    until(lambda: "ready" in launched.stdout, "the signal to be ignored")

    assert -signal.SIGKILL == launched.stop(timeout_s=0.1)
    spawner.end()


def test_a_clean_environment(spawn: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's shell reaches a process, and what the test says wins."""
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("LAUNCHER_WORKERS", "9")
    script = "import os; print(*(os.environ.get(n) for n in ('PORT', 'LAUNCHER_WORKERS', 'EXTRA', 'HOME')))"

    launched = spawn([sys.executable, "-c", script], env={"EXTRA": "yes", "HOME": None})

    assert (0, "None None yes None\n") == (launched.wait(), launched.stdout)


def test_events_are_the_json_lines(spawn: Spawner) -> None:
    """Events are read from standard error between lines that are none, and the first of a name is found."""
    script = r"""
import sys
sys.stderr.write('starting\n{"event": "a", "n": 1}\n[1]\n{"event": "b"}\n{"event": "a", "n": 2}\n{"event": ')
"""
    launched = spawn([sys.executable, "-c", script])
    launched.wait()

    assert [("a", 1), ("b", None), ("a", 2)] == [(event["event"], event.get("n")) for event in launched.events]
    assert {"event": "a", "n": 1} == launched.wait_event("a")
    assert launched.event("c") is None


def test_waiting_for_an_event_ends_with_the_process(spawn: Spawner) -> None:
    """Who waits for the event of a dead process hears at once, with its output."""
    launched = spawn([sys.executable, "-c", "print('last words')"])

    with pytest.raises(AssertionError, match=r"(?s)ended without the event.*last words"):
        launched.wait_event("never", timeout_s=600)


def test_the_first_answer(spawn: Spawner, project: MakeProject) -> None:
    """The first HTTP answer comes with its status and body as soon as the server listens."""
    port = free_port()
    folder = project({"index.html": "hello"})

    launched = spawn([sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], cwd=folder)

    assert (200, "hello") == launched.wait_http(port)
    assert 404 == launched.wait_http(port, "/nothing")[0]


def test_text_on_standard_input(spawn: Spawner) -> None:
    """Text given as standard input is read to its end; without any, the input is empty."""
    script = "import sys; print(repr(sys.stdin.read()))"

    answers = [spawn([sys.executable, "-c", script], stdin=text) for text in ("yes\n", None)]

    assert [0, 0] == [launched.wait() for launched in answers]
    assert ["'yes\\n'\n", "''\n"] == [launched.stdout for launched in answers]


def test_children_are_listed(spawn: Spawner) -> None:
    """The children of a running process are known by their pids, those of an ended one are none."""
    launched = spawn(["sh", "-c", "sleep 600 & echo $!; trap 'kill $!' TERM; wait"])
    until(lambda: launched.stdout != "", "the pid of the child")
    child = int(launched.stdout)

    assert [child] == launched.children()
    launched.stop()
    assert [] == launched.children()


def running(pid: int) -> bool:
    """Say whether this process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
