"""Does a stop signal end a start at once, whatever it is doing, as process 1 too?"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.commands import JOURNAL, journal, serving, toml
from support.namespaces import needs_namespaces
from support.serving import APP
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

PROMISED_S = 0.2  # DESIGN §2: TERM is answered within 200 ms
AT_ONCE_S = 2.0  # what a single look on a busy machine can tell from what waits for a name server or for a lock
ROUNDS = 5
# Begins, waits for TERM (or ignores it), and says how it ended.
STEP = """
import signal, sys
from journal import write

def stop(*_):
    write("term")
    if "stubborn" not in sys.argv:
        sys.exit(3)

signal.signal(signal.SIGTERM, stop)
write("start")
while True:
    signal.pause()
"""
FILES = {"main.py": APP, "journal.py": JOURNAL, "step.py": STEP}
SLOW = FILES | {"launcher.toml": toml('name = "slow"\nrun = "exec {python} step.py"')}
STUBBORN = FILES | {"launcher.toml": toml('name = "slow"\nrun = "exec {python} step.py stubborn"')}


def whats(folder: Path) -> list[str]:
    """Return what the steps wrote, in order."""
    return [entry.what for entry in journal(folder)]


def begun(launched: Launched, folder: Path) -> Launched:
    """Wait until the step runs."""
    until(lambda: "start" in whats(folder) or not launched.running, "the step")
    assert launched.running, launched
    return launched


def stopping_time(launched: Launched, signum: signal.Signals = signal.SIGTERM) -> float:
    """Return how long it takes to end after a signal."""
    began = time.monotonic()
    launched.signal(signum)
    launched.wait(5)
    return time.monotonic() - began


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_while_it_waits_for_the_lock(launch: Launch, project: MakeProject, signum: signal.Signals, code: int) -> None:
    """Waiters end within 200 ms (the median of five) with 128 + n, and the holder's step is not touched."""
    folder = project(SLOW)
    holder = begun(launch("prestart", cwd=folder), folder)
    waiters = [launch("prestart", cwd=folder) for _ in range(ROUNDS)]
    for waiter in waiters:
        waiter.wait_event("launcher.lock_busy")
    latencies = [stopping_time(waiter, signum) for waiter in waiters]

    assert [waiter.wait() for waiter in waiters] == [code] * ROUNDS
    assert sorted(latencies)[ROUNDS // 2] < PROMISED_S, latencies
    assert whats(folder) == ["start"]
    assert holder.running


# A resolver that asks an address where nobody answers: the answer stays out for as long as libc's patience is.
BLACK_HOLE = """
ip link set lo up && ip link add d0 type veth peer name d1 && ip addr add 10.255.255.3/24 dev d0 &&
ip link set d0 up && ip link set d1 up && ip neigh add 10.255.255.1 lladdr 02:00:00:00:00:01 dev d0 &&
mount --bind "$1" /etc/resolv.conf && shift && exec "$@"
"""


@needs_namespaces
@pytest.mark.parametrize("where", ["--host", "wait-for"])
def test_while_a_name_look_up_hangs(spawn: Spawner, project: MakeProject, where: str) -> None:
    """TERM is answered at once with 143 while the name server of an address says nothing."""
    steps = toml('wait-for = "tcp://name.invalid:80"') if where == "wait-for" else ""
    folder = project(FILES | {"resolv.conf": "nameserver 10.255.255.1\noptions timeout:30\n", "launcher.toml": steps})
    words = ["--host", "name.invalid" if where == "--host" else "127.0.0.1", "--port", str(free_port())]
    command = [sys.executable, "-m", "launcher", "run", *words]
    launched = spawn(
        ["unshare", "-mn", "sh", "-c", BLACK_HOLE, "sh", str(folder / "resolv.conf"), *command], cwd=folder
    )
    until(lambda: asks_a_name_server(launched), "the question to the name server")
    latency = stopping_time(launched)

    assert launched.wait() == 143
    assert latency < AT_ONCE_S


def asks_a_name_server(launched: Launched) -> bool:
    """Tell whether a datagram was sent to a name server: its socket, connected to port 53, is in the namespace."""
    assert launched.running, launched
    path = Path(f"/proc/{launched.pid}/net/udp")
    return any(line.split()[2].endswith(":0035") for line in path.read_text().splitlines()[1:])


def test_during_a_step(launch: Launch, project: MakeProject) -> None:
    """The step gets TERM once, the launcher exits with 143, and the lock is free for the next one."""
    folder = project(SLOW)
    launched = begun(launch("run", "--port", str(free_port()), cwd=folder), folder)
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 143
    second = launch("prestart", cwd=folder)
    until(lambda: len(journal(folder)) >= 3, "the second step")

    assert whats(folder) == ["start", "term", "start"]
    assert second.event("launcher.lock_busy") is None


def test_group_wide(launch: Launch, project: MakeProject) -> None:
    """TERM to the whole process group, as a terminal or supervisor sends it, reaches the step once."""
    folder = project(SLOW)
    launched = begun(launch("run", "--port", str(free_port()), cwd=folder), folder)
    os.killpg(launched.pid, signal.SIGTERM)

    assert launched.wait() == 143
    assert whats(folder) == ["start", "term"]


def test_a_step_that_ignores_term(launch: Launch, project: MakeProject) -> None:
    """It is killed when the grace of five seconds is over, and the launcher still exits with 143."""
    folder = project(STUBBORN)
    launched = begun(launch("run", "--port", str(free_port()), cwd=folder), folder)
    step = int(journal(folder)[0].who)
    began = time.monotonic()
    launched.signal(signal.SIGTERM)
    code = launched.wait(25)
    took = time.monotonic() - began

    assert code == 143
    assert whats(folder) == ["start", "term"]
    assert not psutil.pid_exists(step)
    assert 4.5 < took < 15


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_group_wide_while_serving(launch: Launch, project: MakeProject, server: str) -> None:
    """TERM to the whole group ends a serving pool with 0."""
    port = free_port()
    words = ("--server", server, "--workers", "2", "--port", str(port))
    launched = launch("run", *words, cwd=project({"main.py": APP}))
    serving(launched, port)
    os.killpg(launched.pid, signal.SIGTERM)

    assert launched.wait() == 0, launched


@needs_namespaces
class TestProcessOne:
    """The launcher as process 1 of a container."""

    def start(self, spawn: Spawner, folder: Path, *words: str) -> Launched:
        """Start it as process 1; what `launched` exits with is its exit code, as a container's runtime sees it."""
        command = [sys.executable, "-m", "launcher", *words]
        return spawn(["unshare", "-pf", "--mount-proc", "--kill-child", *command], cwd=folder)

    def init(self, launched: Launched) -> psutil.Process:
        """Return process 1, seen from outside."""
        (pid,) = until(launched.children, "process 1")
        return psutil.Process(pid)

    def test_during_a_step(self, spawn: Spawner, project: MakeProject) -> None:
        """TERM reaches the step once, and the exit code is 143."""
        folder = project(SLOW)
        launched = begun(self.start(spawn, folder, "run", "--port", str(free_port())), folder)
        self.init(launched).terminate()

        assert launched.wait() == 143
        assert whats(folder) == ["start", "term"]

    def test_while_it_waits_for_the_lock(self, spawn: Spawner, launch: Launch, project: MakeProject) -> None:
        """TERM is answered at once with 143, though the kernel has no default action for process 1."""
        folder = project(SLOW)
        begun(launch("prestart", cwd=folder), folder)
        launched = self.start(spawn, folder, "prestart")
        launched.wait_event("launcher.lock_busy")
        began = time.monotonic()
        self.init(launched).terminate()
        code, took = launched.wait(5), time.monotonic() - began

        assert code == 143
        assert took < AT_ONCE_S

    def test_the_exit_code_of_a_failing_step(self, spawn: Spawner, project: MakeProject) -> None:
        """10 is what the runtime sees."""
        folder = project({"main.py": APP, "launcher.toml": toml('run = "exit 4"')})

        assert self.start(spawn, folder, "prestart").wait() == 10

    @pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
    def test_serving(self, spawn: Spawner, project: MakeProject, server: str) -> None:
        """The server is process 1 with nothing of the step left, no zombies, and TERM ends it with 0."""
        leaves = 'name = "leaves"\nrun = "sleep 600 & (sleep 0 &) ; true"'
        folder = project({"main.py": APP, "launcher.toml": toml(leaves)})
        port = free_port()
        launched = self.start(spawn, folder, "run", "--server", server, "--workers", "2", "--port", str(port))
        said = serving(launched, port)
        init = self.init(launched)
        below = [(child.name(), child.status()) for child in init.children(recursive=True)]
        init.terminate()

        assert launched.wait() == 0, launched
        assert 1 == said["ppid"]
        assert [name for name, status in below if name == "sleep" or status == psutil.STATUS_ZOMBIE] == []
        assert json.dumps("leaves") in json.dumps(launched.event("launcher.step_leftovers_killed"))
