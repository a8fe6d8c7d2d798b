"""Does the process that preloaded workers are forked from stay what it is, whatever fails in it?"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from launcher.errors import UsageError
from launcher.scoreboard import Board
from launcher.servers.gunicorn import GunicornServer
from launcher.serving.evidence import Evidence
from launcher.serving.gunicorn.template import Template, TemplateFailedError
from support.become import make_plan
from support.pool import APP, descriptors, linux_only, noted, start_pool
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch

RAISES = """
from pathlib import Path

def pre_fork(server, worker):
    if Path("flag").exists():
        raise RuntimeError("refused-4711")
"""
LEAVES = RAISES.replace('RuntimeError("refused-4711")', 'SystemExit("refused-4711")')
# The arbiter itself may fork, and the process that forks the worker is the one that may not.
NO_MORE_PROCESSES = """
import errno, os
from pathlib import Path

arbiter, fork = os.getpid(), os.fork

def counted():
    if Path("flag").exists() and os.getpid() != arbiter and os.getppid() {whose} arbiter:
        raise BlockingIOError(errno.EAGAIN, "refused-4711")
    return fork()

os.fork = counted
"""
FAULTS = {
    "raises": RAISES,
    "leaves": LEAVES,
    "template-cannot-fork": NO_MORE_PROCESSES.format(whose="=="),
    "between-cannot-fork": NO_MORE_PROCESSES.format(whose="!="),
}
HANGS = """
import time
from pathlib import Path

def pre_fork(server, worker):
    while Path("flag").exists():
        time.sleep(0.1)
"""

pytestmark = linux_only


def preloaded(launch: Launch, folder: Path) -> Pool:
    """Start two workers of a preloaded application."""
    pool = start_pool(launch, folder, "gunicorn", "--preload")
    pool.ready(2)
    return pool


def templates(pool: Pool) -> set[int]:
    """Return the pids of the arbiter's children that are no workers."""
    return set(pool.workers()) - {event["pid"] for event in pool.named("worker_started")}


def two_serve(pool: Pool, *but: int) -> set[int]:
    """Wait until two workers live that have been ready, other than `but`, which were killed; return their pids."""

    def two() -> set[int] | None:
        alive = set(pool.workers()) & pool.ready(1) - {*but}
        return alive if len(alive) == 2 else None

    return pool.until(two, "two workers") or set()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fork_that_fails(launch: Launch, project: MakeProject, fault: str) -> None:
    """A hook that raises or a fork that is refused is said, makes no second arbiter, and is tried again."""
    folder = project({"main.py": APP, "gunicorn.conf.py": FAULTS[fault]})
    pool = preloaded(launch, folder)
    template = templates(pool)
    (folder / "flag").touch()
    pool.kill(next(iter(pool.ready(2))))
    refused = pool.seen("worker_not_started", 2)
    everybody = psutil.Process(pool.pid).children(recursive=True)
    (folder / "flag").unlink()
    two_serve(pool)

    assert all("refused-4711" in event["because"] for event in refused)
    assert {pool.pid} == {process.ppid() for process in everybody if process.is_running()}
    assert [] == pool.named("pool_fault")
    assert template == templates(pool)
    assert pool.end() == 0


def test_a_template_that_does_not_answer(launch: Launch, project: MakeProject) -> None:
    """It is ended, together with the hook that hangs in it, and workers come from another one."""
    folder = project({"main.py": APP, "gunicorn.conf.py": HANGS})
    pool = preloaded(launch, folder)
    before = templates(pool)
    (folder / "flag").touch()
    pool.kill(next(iter(pool.ready(2))))
    (refused,) = pool.seen("worker_not_started")
    (folder / "flag").unlink()
    two_serve(pool)

    assert "does not answer" in refused["because"]
    assert before.isdisjoint(templates(pool))
    assert 1 == len(templates(pool))
    assert [] == pool.named("pool_fault")
    assert pool.end() == 0


def test_the_template_of_before_dies_during_a_reload(launch: Launch, project: MakeProject) -> None:
    """The reload fails as well: workers still come from somewhere."""
    folder = project({"main.py": APP})
    pool = preloaded(launch, folder)
    first, (before,) = pool.ready(2), templates(pool)
    (folder / "hang-lifespan").touch()
    pool.tell(signal.SIGHUP)
    pool.until(lambda: noted(folder)["hangs"] == 1, "a new worker")
    pool.kill(before)
    pool.until(lambda: not psutil.pid_exists(before), "the end of the old template")
    (folder / "hang-lifespan").unlink()
    pool.kill(pool.named("worker_started")[-1]["pid"])
    pool.seen("reload_failed")
    pool.kill(killed := first.pop())
    two_serve(pool, killed)

    assert pool.end() == 0


ARBITER_CANNOT_FORK = NO_MORE_PROCESSES.format(whose="==").replace(
    "os.getpid() != arbiter and os.getppid()", "os.getpid()"
)


def test_a_template_that_cannot_be_forked(launch: Launch, project: MakeProject) -> None:
    """The reload is refused, as often as one likes: nothing stays open, and the next one with room works."""
    folder = project({"main.py": APP, "gunicorn.conf.py": ARBITER_CANNOT_FORK})
    pool = preloaded(launch, folder)
    before = descriptors(pool.pid)
    (folder / "flag").touch()
    for count in (1, 2, 3):
        pool.tell(signal.SIGHUP)
        pool.seen("reload_failed", count)
    after = descriptors(pool.pid)
    (folder / "flag").unlink()
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded")

    assert after <= before
    assert pool.end() == 0


def test_evidence_stays_open(launch: Launch, project: MakeProject) -> None:
    """A worker of a second template has its file for last words, and no other worker's."""
    folder = project({"main.py": APP})
    pool = preloaded(launch, folder)
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded")
    pool.kill(killed := next(iter(two_serve(pool))))
    names = [
        [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115 - it leads to no path
        for pid in two_serve(pool, killed)
    ]

    assert [1, 1] == [sum("launcher-evidence" in name for name in one) for one in names]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that does nothing."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def made(pid: int, deadline_s: float = 60.0, *, ready: bool = True) -> tuple[Template, socket.socket]:
    """Return the arbiter's side for a process, and what is the process's end of the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Template(pid, ours, Evidence.create(), time.monotonic() + deadline_s, ready=ready), theirs


def test_only_its_own_answer_is_taken(sleeper: subprocess.Popen[bytes]) -> None:
    """What is left of an earlier question is dropped, a refusal raised, and one that is not ready is not asked."""
    template, theirs = made(sleeper.pid)
    slot, evidence = Board.create().slot(0), Evidence.create()
    for answer in (b"6 4711", b"7 4712", b"8 !no more processes"):
        theirs.send(answer)
    asked, refused = template.fork(slot, evidence, 7), ""
    try:
        template.fork(slot, evidence, 8)
    except OSError as error:
        refused = str(error)
    template.ready = False
    with pytest.raises(OSError, match="not imported yet"):
        template.fork(slot, evidence, 9)
    template.end()
    evidence.close()
    theirs.close()

    assert (4712, "no more processes") == (asked, refused)


def test_a_late_import_is_not_waited_for(sleeper: subprocess.Popen[bytes]) -> None:
    """Between the signal that makes it write its stacks and its end, the arbiter's loop goes on."""
    template, theirs = made(sleeper.pid, deadline_s=0.0, ready=False)
    begun = time.monotonic()
    looked = template.look()
    took = time.monotonic() - begun
    with pytest.raises(TemplateFailedError, match="too long"):
        until(template.look, "the end of its patience", 5.0)
    theirs.close()

    assert (False, True) == (looked, took < 0.3)
    assert -signal.SIGABRT == sleeper.wait()


def test_who_was_reaped_is_not_killed(sleeper: subprocess.Popen[bytes]) -> None:
    """The pid of a template that is gone may be anybody's."""
    template, theirs = made(sleeper.pid)
    template.gone = True
    template.end()
    theirs.close()

    assert sleeper.poll() is None


@pytest.mark.parametrize("plain", [False, True])
def test_elsewhere_preload_is_refused(plain: bool) -> None:  # noqa: FBT001 - a parameter
    """Off Linux nobody could be the workers' parent; the bare server needs nobody."""
    server, cure = GunicornServer(platform="darwin"), ""
    try:
        server.command(make_plan((), {"pool": {"preload": True, "plain": plain}}))
    except UsageError as error:
        cure = error.cure

    assert plain == ("leave preload out" not in cure)


def test_a_reload_with_a_broken_configuration_keeps_the_template(launch: Launch, project: MakeProject) -> None:
    """Nothing was imported for it: whoever is missing afterwards comes from the application that was imported once."""
    folder = project({"main.py": APP, "gunicorn.conf.py": ""})
    pool = start_pool(launch, folder, "gunicorn", "--preload")
    first = pool.ready(2)
    (folder / "gunicorn.conf.py").write_text("workers = (")
    pool.tell(signal.SIGHUP)
    pool.seen("reload_failed")
    pool.kill(min(first))
    pool.ready(3)

    assert 1 == noted(folder)["import"]
    assert pool.end() == 0
