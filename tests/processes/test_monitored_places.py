"""Do probes and commands work wherever a launcher may run, and does a start without a monitor miss nothing but them?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from support.launched import http_get
from support.monitored import SLACK_S, ended, start_steered
from support.namespaces import needs_namespaces
from support.pool import APP, BARE, both_servers, linux_only
from support.serving import APP as SERVED
from support.stand_ins import TESTS
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

pytestmark = linux_only

# As a container has it: the launcher is PID 1, the commands come from outside into its namespaces, as by `docker exec`.
each_start = pytest.mark.parametrize(("server", "workers"), [("gunicorn", 2), ("uvicorn", 2), ("uvicorn", 1)])


def test_two_instances(launch: Launch, project: MakeProject) -> None:
    """Of two on one host each folder's commands mean its own; elsewhere one has to be named, and only it ends."""
    folders = [project({"main.py": APP}, name) for name in BARE]
    runtime_dir = folders[0] / "run"
    one, other = (
        start_steered(launch, folder, server, runtime_dir=runtime_dir)
        for folder, server in zip(folders, BARE, strict=True)
    )
    for steered in (one, other):
        steered.pool.ready(2)
    told = [json.loads(steered.command("status", "--json").stdout) for steered in (one, other)]
    elsewhere, env = project({"empty": ""}, "elsewhere"), {"LAUNCHER_RUNTIME_DIR": str(runtime_dir)}
    unclear = ended(launch("status", cwd=elsewhere, env=env))
    named = ended(launch("health", "--pid", str(other.run.pid), cwd=elsewhere, env=env))
    stop = ended(launch("stop", "--pid", str(other.run.pid), cwd=elsewhere, env=env))

    assert [one.run.pid, other.run.pid] == [status["pid"] for status in told]
    assert [*BARE] == [status["server"] for status in told]
    assert 2 == unclear.code
    assert all(f"--pid {steered.run.pid}" in unclear.stderr for steered in (one, other)), unclear
    assert 0 == named.code, named
    assert 0 == stop.code, stop
    assert 0 == other.run.wait(1)
    assert 0 == one.command("health").code
    assert [one.socket] == list(runtime_dir.iterdir())


@needs_namespaces
@each_start
def test_pid_1(spawn: Spawner, project: MakeProject, server: str, workers: int) -> None:
    """As PID 1 of its namespace all commands work in there, and the container ends with 0."""
    folder, health_port = project({"main.py": APP}), free_port()
    where = ("--host", "127.0.0.1", "--port", str(free_port()), "--health-bind", f"127.0.0.1:{health_port}")
    options = ("--server", server, "--workers", str(workers), "--runtime-dir", str(folder / "run"))
    words = [sys.executable, "-m", "launcher", "run", "main:app", *options, *where]
    container = spawn(["unshare", "-pf", "--kill-child", "--mount-proc", *words], cwd=folder)
    until(lambda: http_get(health_port, "/readyz") == (200, "ok\n") or not container.running, "a pool", SLACK_S)
    assert container.running, container
    (first,) = psutil.Process(container.pid).children()

    def inside(*words: str) -> Launched:
        entered = ["nsenter", "-t", str(first.pid), "-p", "-m", f"--wdns={folder}", sys.executable, "-m", "launcher"]
        launched = spawn([*entered, *words, "--runtime-dir", str(folder / "run")])
        launched.wait()
        return launched

    codes = {word: inside("health", word).popen.returncode for word in ("live", "startup", "ready")}
    told = inside("status", "--json")
    assert 0 == told.popen.returncode, str(told)
    status = json.loads(told.stdout)
    steered = [inside(*words).popen.returncode for words in (("reload",), ("scale", "1"))] if workers > 1 else [0, 0]
    inside("stop")  # its own end comes with the namespace's: what it exits with nobody can tell

    assert {"live": 0, "startup": 0, "ready": 0} == codes
    assert (1, workers, "serving") == (status["pid"], status["ready"], status["state"])
    assert [0, 0] == steered
    assert 0 == container.wait()
    assert [] == list((folder / "run").iterdir())


# Nothing can be written, there is no home, and the user has no name: as OpenShift starts a container.
_BARE = """
set -e
for folder in /var/tmp /dev/shm /run /tmp; do mount -t tmpfs none $folder; done
printf '%s' "$APP" > /tmp/main.py
for folder in /var/tmp /run /tmp $CLOSED; do mount -o remount,ro $folder; done
mount --bind / / && mount -o remount,ro,bind /
"$PYTHON" -c 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x41))'
# It may read what is root's alone, since the interpreter of the tests may lie there, and write nothing.
run() {
    setpriv --reuid 54321 --regid 0 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search \\
        env -i PATH="$PATH" "$PYTHON" "$@"
}
cd /tmp
run -m launcher run main:app --server "$SERVER" --workers 2 --host 127.0.0.1 --port 8000 --health-bind 127.0.0.1:9000 &
for _ in $(seq 200); do if run -m launcher health 2>/dev/null; then break; fi; sleep 0.05; done
run -m launcher health --verbose
run -m launcher status --json
run -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:9000/readyz").status)'
run -m launcher reload
run -m launcher stop
run -m launcher health live || echo "gone: $?"
wait $!
echo "ended: $?"
"""


@needs_namespaces
@pytest.mark.parametrize(
    ("server", "closed", "socket"),
    [
        ("uvicorn", "/dev/shm", "@launcher-54321-{pid}"),  # noqa: S108 - mounted for the test
        ("gunicorn", "", "/dev/shm/launcher-54321/{pid}.sock"),  # noqa: S108 - as above; gunicorn has to have a file
    ],
)
def test_where_nothing_can_be_written(spawn: Spawner, server: str, closed: str, socket: str) -> None:
    """With read-only file systems, no home and a uid without a name it runs, and all commands work."""
    hidden = ("/tmp/", "/var/tmp/", "/run/")  # noqa: S108 - nothing is made there
    if str(TESTS).startswith(hidden) or sys.prefix.startswith(hidden):
        pytest.skip("the project lies where this test puts empty file systems")
    env = {"PYTHON": sys.executable, "SERVER": server, "CLOSED": closed, "APP": SERVED}
    launched = spawn(["unshare", "-mn", "sh", "-c", _BARE], env=env, cwd="/")

    assert launched.wait() == 0, launched
    lines = launched.stdout.splitlines()
    status = json.loads(lines[3])
    assert ["[+]workers ok: 2/2 ready, 1 needed", "[+]draining ok", "readyz check passed"] == lines[:3]
    assert socket.format(pid=status["pid"]) == status["socket"]
    assert ["200", "gone: 1", "ended: 0"] == lines[4:]


@pytest.mark.parametrize("word", ["--no-monitor", "--plain"])
@both_servers
def test_without_a_monitor(launch: Launch, project: MakeProject, server: str, word: str) -> None:
    """The server serves and ends as ever, there is no process beside it, and the commands say that nobody answers."""
    steered = start_steered(launch, project({"main.py": APP}), server, word)
    answer = steered.pool.asked()
    steered.pool.until(lambda: len(steered.pool.workers()) == 2, "two workers")
    commands = [" ".join(psutil.Process(pid).cmdline()) for pid in steered.run.children(recursive=True)]
    asked = {words[0]: steered.command(*words) for words in (("health", "live"), ("status",), ("reload",), ("stop",))}

    assert answer["pid"] in steered.pool.workers()
    assert [] == [command for command in commands if "launcher.monitor" in command]
    assert steered.tcp("/livez") is None
    assert not steered.runtime_dir.exists() or [] == list(steered.runtime_dir.iterdir())
    assert {1} == {one.code for one in asked.values()}
    assert all("no launcher runs" in one.stderr for one in asked.values()), asked
    assert 0 == steered.pool.end()
