"""Do the real servers run on the sockets they are given, and do they end with the documented exit codes?"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.serving import APP, BROKEN, GUNICORN, POOLS, another_worker, each_pool, each_server, start, tell
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Spawner


def over_unix(path: Path) -> dict[str, Any] | None:
    """Return what the application says through a Unix socket, or None when nobody answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        except OSError:
            return None
    return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))


def sockets(pid: int) -> int:
    """Count the listening TCP sockets a process holds."""
    listening = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"}
    targets = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(target.removeprefix("socket:[").rstrip("]") in listening for target in targets)


@each_pool
def test_same_process_and_exit_code_0(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """The launcher's pid is the server's, and TERM ends it as asked: 0."""
    port = free_port()
    launched = start(spawn, project({"main.py": APP}), {"mess": True} | asked, f"127.0.0.1:{port}")
    said = tell(launched, port)
    launched.signal(signal.SIGTERM)

    assert launched.pid in (said["pid"], said["ppid"])
    assert launched.wait() == 0
    assert "Traceback" not in launched.stderr


@pytest.mark.parametrize("fault", BROKEN)
@each_pool
def test_a_broken_application_is_exit_code_3(
    spawn: Spawner, project: MakeProject, asked: dict[str, Any], fault: str
) -> None:
    """Never ready is 3 for every server and number of workers, without a server's own traceback about it."""
    launched = start(spawn, project({"main.py": BROKEN[fault]}), asked, f"127.0.0.1:{free_port()}")

    assert launched.wait() == 3, launched
    assert "HaltServer" not in launched.stderr


@pytest.mark.parametrize(
    "asked", [POOLS["uvicorn"], {"server": "gunicorn", "plan": {"pool": {"preload": True}}}], ids=["uvicorn", "preload"]
)
def test_a_stop_during_a_long_import_is_exit_code_0(
    spawn: Spawner, project: MakeProject, asked: dict[str, Any]
) -> None:
    """TERM is answered at once; as PID 1 it would be ignored where nobody handles it."""
    folder = project({"main.py": "import time; print('importing', flush=True); time.sleep(600)"})
    launched = start(spawn, folder, asked, f"127.0.0.1:{free_port()}")
    until(lambda: "importing" in launched.stdout, "the import")
    launched.signal(signal.SIGTERM)

    assert launched.wait(5) == 0


@pytest.mark.parametrize("pool", ["gunicorn", "gunicorn-3", "uvicorn", "uvicorn-3"])
def test_a_missing_certificate_is_exit_code_3(spawn: Spawner, project: MakeProject, pool: str) -> None:
    """No worker that cannot boot is started again and again: gunicorn would, for what fails inside uvicorn."""
    asked = POOLS[pool]
    plan = asked.get("plan", {}) | {"http": {"ssl_certfile": __file__}}
    launched = start(spawn, project({"main.py": APP}), asked | {"plan": plan}, f"127.0.0.1:{free_port()}")

    assert launched.wait() == 3


@each_server
def test_a_terminal_interrupt_is_exit_code_0(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """INT ends the server as asked, too."""
    port = free_port()
    launched = start(spawn, project({"main.py": APP}), asked, f"127.0.0.1:{port}")
    launched.wait_http(port)
    launched.signal(signal.SIGINT)

    assert launched.wait() == 0


@each_pool
def test_two_addresses(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """Every address that was given is served."""
    ports = free_port(), free_port()
    launched = start(spawn, project({"main.py": APP}), asked, *(f"127.0.0.1:{port}" for port in ports))

    assert [tell(launched, port)["scheme"] for port in ports] == ["http", "http"]


@each_pool
def test_unix_socket(spawn: Spawner, project: MakeProject, tmp_path: Path, asked: dict[str, Any]) -> None:
    """A Unix socket is served, and its file is gone afterwards."""
    path = tmp_path / "app.sock"
    launched = start(spawn, project({"main.py": APP}), asked, f"unix:{path}")
    until(lambda: over_unix(path), "an answer on the socket")
    launched.signal(signal.SIGTERM)

    assert launched.wait() == 0
    assert not path.exists()


@each_server
def test_ipv6(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """An IPv6 address is served, and the application sees who asked."""
    port = free_port()
    launched = start(spawn, project({"main.py": APP}), asked, f"[::]:{port}")
    launched.wait_http(port)
    connection = http.client.HTTPConnection("::1", port, timeout=5)
    connection.request("GET", "/")
    said = json.loads(connection.getresponse().read())
    connection.close()

    assert said["client"][0] == "::1"


@pytest.mark.parametrize("worker_class", ["uvicorn", "asgi"])
def test_hup_reloads_and_keeps_the_socket(spawn: Spawner, project: MakeProject, worker_class: str) -> None:
    """Twice HUP: other workers with new code, the same arbiter on the same socket, and still exit code 0."""
    port = free_port()
    folder = project({"main.py": APP})
    plan = {"pool": {"worker_class": worker_class}}
    launched = start(spawn, folder, {"server": "gunicorn", "plan": plan}, f"127.0.0.1:{port}")
    seen = {tell(launched, port)["pid"]}
    for _ in range(2):
        launched.signal(signal.SIGHUP)
        seen.add(until(lambda: another_worker(port, seen), "another worker"))
    if sys.platform == "linux":
        assert sockets(launched.pid) == 1
    launched.signal(signal.SIGTERM)

    assert launched.wait() == 0
    assert len(seen) == 3


def test_usr2_is_refused(spawn: Spawner, project: MakeProject) -> None:
    """Gunicorn's way to a new arbiter would skip the steps: it is refused, and said."""
    port = free_port()
    launched = start(spawn, project({"main.py": APP}), GUNICORN, f"127.0.0.1:{port}")
    launched.wait_http(port)
    launched.signal(signal.SIGUSR2)
    until(lambda: "USR2 refused" in launched.stderr, "the log line")

    assert len(launched.children()) == 1


def test_a_broken_application_with_preload_is_exit_code_3(spawn: Spawner, project: MakeProject) -> None:
    """Imported once, before any worker: the traceback is shown once."""
    folder = project({"main.py": BROKEN["raises"]})
    launched = start(spawn, folder, GUNICORN | {"plan": {"pool": {"preload": True}}}, f"127.0.0.1:{free_port()}")

    assert launched.wait() == 3
    assert launched.stderr.count("RuntimeError: broken on purpose") == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_uvicorn_shows_the_traceback_of_a_broken_module(spawn: Spawner, project: MakeProject, workers: int) -> None:
    """No endless respawning: the reason stands there at most once for each worker."""
    folder = project({"main.py": BROKEN["raises"]})
    asked = {"server": "uvicorn", "plan": {"workers": workers}}
    launched = start(spawn, folder, asked, f"127.0.0.1:{free_port()}")
    launched.wait()

    assert 1 <= launched.stderr.count("RuntimeError: broken on purpose") <= workers


def watches(pid: int) -> bool:
    """Tell whether a process waits for changes of files."""
    return any("inotify" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reload_restarts_on_changes(spawn: Spawner, project: MakeProject) -> None:
    """With --reload a changed file is served without a restart by hand, and TERM is still exit code 0."""
    port = free_port()
    folder = project({"main.py": APP})
    plan = {"pool": {"reload": True, "reload_dir": [str(folder)]}}
    launched = start(spawn, folder, {"server": "uvicorn", "plan": plan}, f"127.0.0.1:{port}")
    before = tell(launched, port)["pid"]
    until(lambda: watches(launched.pid), "the watch: uvicorn begins it a quarter of a second after the server")
    (folder / "main.py").write_text(APP + "# changed\n")
    until(lambda: another_worker(port, {before}), "the restart", 30)
    launched.signal(signal.SIGTERM)

    assert launched.wait() == 0


def test_bind_early_keeps_connections_for_the_server(spawn: Spawner, project: MakeProject) -> None:
    """Listening from the start on, the socket is the one that the server answers on."""
    port = free_port()
    launched = start(spawn, project({"main.py": APP}), GUNICORN | {"listen": True}, f"127.0.0.1:{port}")

    assert launched.wait_http(port)[0] == 200
