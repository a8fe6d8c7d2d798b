"""Do the real servers run as decided, and do they end with the documented exit codes?"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import become
from support.launched import http_get
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Spawner

POOLS = {
    "gunicorn": {"server": "gunicorn"},
    "gunicorn-3": {"server": "gunicorn", "plan": {"workers": 3}},
    "gunicorn-asgi": {"server": "gunicorn", "plan": {"pool": {"worker_class": "asgi"}}},
    "uvicorn": {"server": "uvicorn"},
    "uvicorn-3": {"server": "uvicorn", "plan": {"workers": 3}},
}
GUNICORN = POOLS["gunicorn"]
each_pool = pytest.mark.parametrize("asked", POOLS.values(), ids=POOLS)
each_server = pytest.mark.parametrize("asked", [POOLS["gunicorn"], POOLS["uvicorn"]], ids=["gunicorn", "uvicorn"])

APP = """
import json, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    answer = {
        "pid": os.getpid(), "ppid": os.getppid(), "root_path": scope["root_path"], "scheme": scope["scheme"],
        "client": scope["client"], "environ": dict(os.environ),
    }
    body = json.dumps(answer).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
"""
BROKEN = {
    "raises": "raise RuntimeError('broken on purpose')",
    "leaves": "import sys; sys.exit(1)",
    "missing": "import no_such_module",
    "no-attribute": "application = None",
    "lifespan": """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "broken on purpose"})
""",
}
HOOKS = """
import os
from pathlib import Path

def note(name):
    with Path("hooks").open("a") as file:
        file.write(name + "\\n")

def on_starting(arbiter): note("on_starting")
def when_ready(arbiter): note("when_ready")
def post_fork(arbiter, worker): note("post_fork")
def child_exit(arbiter, worker): note("child_exit")
def worker_exit(arbiter, worker): note("worker_exit")
def on_exit(arbiter): note("on_exit")
workers = 2
raw_env = ["FROM_CONF=conf", "FROM_BOTH=conf"]
"""


def start(spawn: Spawner, cwd: Path, asked: dict[str, Any], *bind: str, env: dict[str, str] | None = None) -> Launched:
    """Start the driver in the project's folder."""
    words = [sys.executable, become.__file__, json.dumps({"bind": bind} | asked)]
    return spawn(words, cwd=cwd, env=env or {})


def tell(launched: Launched, port: int) -> dict[str, Any]:
    """Return what the application says about its request and its process."""
    return dict(json.loads(launched.wait_http(port)[1]))


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


def another_worker(port: int, seen: set[int]) -> int | None:
    """Return the pid of the worker that answers when it is a new one."""
    answer = http_get(port)
    pid: int | None = json.loads(answer[1])["pid"] if answer else None
    return None if pid in seen else pid


def sockets(pid: int) -> int:
    """Count the listening TCP sockets a process holds."""
    listening = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"}
    targets = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
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


@each_pool
def test_root_path_arrives(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """--root-path is the application's root_path under every server."""
    port = free_port()
    plan = asked.get("plan", {}) | {"http": {"root_path": "/api"}}
    launched = start(spawn, project({"main.py": APP}), asked | {"plan": plan}, f"127.0.0.1:{port}")

    assert tell(launched, port)["root_path"] == "/api"


@each_pool
def test_a_factory_in_another_folder(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """The application is imported from the folder it was found in, and made by its factory."""
    port = free_port()
    folder = project({"src/made.py": f"{APP}\ndef create():\n    return app\n"})
    plan = asked.get("plan", {}) | {"app": "made:create", "factory": True, "import_dir": str(folder / "src")}
    launched = start(spawn, folder, asked | {"plan": plan}, f"127.0.0.1:{port}")

    assert launched.wait_http(port)[0] == 200


@each_server
def test_an_attribute_of_an_object(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """`module:object.attribute` is understood by both servers, as uvicorn has it."""
    port = free_port()
    folder = project({"main.py": f"{APP}\nclass web:\n    inner = staticmethod(app)\n"})
    launched = start(spawn, folder, asked | {"plan": {"app": "main:web.inner"}}, f"127.0.0.1:{port}")

    assert launched.wait_http(port)[0] == 200


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


def test_gunicorn_conf_is_chained(spawn: Spawner, project: MakeProject) -> None:
    """The user's hooks run, and what the launcher only decided gives way to what they configured."""
    port = free_port()
    folder = project({"main.py": APP, "gunicorn.conf.py": HOOKS})
    env = {"GUNICORN_CMD_ARGS": "--env FROM_BOTH=args"}
    launched = start(spawn, folder, GUNICORN, f"127.0.0.1:{port}", env=env)
    variables = tell(launched, port)["environ"]
    workers = until(lambda: len(launched.children()) == 2 and 2, "two workers")
    launched.signal(signal.SIGTERM)
    status = launched.wait()
    hooks = (folder / "hooks").read_text().split()

    assert (status, workers) == (0, 2)
    assert variables["FROM_BOTH"] == "args"
    assert {"on_starting", "when_ready", "post_fork", "child_exit", "worker_exit", "on_exit"} == set(hooks)


def test_what_was_asked_for_wins_over_gunicorn_conf(spawn: Spawner, project: MakeProject) -> None:
    """An explicit number of workers is not overruled by the user's file."""
    port = free_port()
    folder = project({"main.py": APP, "gunicorn.conf.py": "workers = 3\ndaemon = True\nbind = ':1'\n"})
    asked = GUNICORN | {"plan": {"pool": {"workers": 1}}}
    launched = start(spawn, folder, asked, f"127.0.0.1:{port}")
    launched.wait_http(port)

    assert len(launched.children()) == 1
    assert "daemon is ignored" in launched.stderr


@pytest.mark.parametrize("conf", ["workers = 'many'", "1 / 0", "worker_class = 'no.such.Worker'"])
def test_a_mistake_in_gunicorn_conf_is_exit_code_2(spawn: Spawner, project: MakeProject, conf: str) -> None:
    """What cannot be read is a usage error, not a bug of the launcher."""
    folder = project({"main.py": APP, "gunicorn.conf.py": conf})
    launched = start(spawn, folder, GUNICORN, f"127.0.0.1:{free_port()}")

    assert launched.wait() == 2


def test_a_broken_application_with_preload_is_exit_code_3(spawn: Spawner, project: MakeProject) -> None:
    """Imported once, before any worker: the traceback is shown once."""
    folder = project({"main.py": BROKEN["raises"]})
    launched = start(spawn, folder, GUNICORN | {"plan": {"pool": {"preload": True}}}, f"127.0.0.1:{free_port()}")

    assert launched.wait() == 3
    assert launched.stderr.count("broken on purpose\n") == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_uvicorn_shows_the_traceback_of_a_broken_module(spawn: Spawner, project: MakeProject, workers: int) -> None:
    """No endless respawning: the reason stands there at most once for each worker."""
    folder = project({"main.py": BROKEN["raises"]})
    asked = {"server": "uvicorn", "plan": {"workers": workers}}
    launched = start(spawn, folder, asked, f"127.0.0.1:{free_port()}")
    launched.wait()

    assert 1 <= launched.stderr.count("RuntimeError: broken on purpose") <= workers


def header(port: int, name: str) -> str | None:
    """Return a header of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/")
    value = connection.getresponse().headers[name]
    connection.close()
    return value


@each_server
def test_variables_of_uvicorn_reach_it(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """UVICORN_* without an option of ours work under both servers; gunicorn's workers would ignore them."""
    port = free_port()
    env = {"UVICORN_HEADERS": "x-told:yes", "UVICORN_DATE_HEADER": "false"}
    launched = start(spawn, project({"main.py": APP}), asked, f"127.0.0.1:{port}", env=env)
    launched.wait_http(port)

    assert (header(port, "x-told"), header(port, "date")) == ("yes", None)


@each_server
def test_a_variable_uvicorn_refuses_is_exit_code_2(spawn: Spawner, project: MakeProject, asked: dict[str, Any]) -> None:
    """The message is uvicorn's own."""
    env = {"UVICORN_WS_MAX_QUEUE": "many"}
    launched = start(spawn, project({"main.py": APP}), asked, f"127.0.0.1:{free_port()}", env=env)

    assert launched.wait() == 2
    assert "'many' is not a valid integer" in launched.stderr


@each_server
@pytest.mark.parametrize("believed", [True, False])
def test_proxy_headers_are_handed_on(
    spawn: Spawner,
    project: MakeProject,
    asked: dict[str, Any],
    believed: bool,  # noqa: FBT001 - a parameter
) -> None:
    """--proxy-headers decides whether X-Forwarded-Proto is believed."""
    port = free_port()
    plan = {"http": {"proxy_headers": believed, "forwarded_allow_ips": "*"}}
    launched = start(spawn, project({"main.py": APP}), asked | {"plan": plan}, f"127.0.0.1:{port}")
    launched.wait_http(port)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/", headers={"X-Forwarded-Proto": "https"})
    said = json.loads(connection.getresponse().read())
    connection.close()

    assert said["scheme"] == ("https" if believed else "http")


@each_pool
@pytest.mark.parametrize("wanted", [True, False])
def test_access_log(
    spawn: Spawner,
    project: MakeProject,
    asked: dict[str, Any],
    wanted: bool,  # noqa: FBT001 - a parameter
) -> None:
    """The access log is on, and off when the user says so, even where Heroku's GUNICORN_CMD_ARGS turns it on."""
    port = free_port()
    plan = asked.get("plan", {}) | {"log": {"access_log": wanted}}
    env = {"GUNICORN_CMD_ARGS": "--access-logfile -"}
    launched = start(spawn, project({"main.py": APP}), asked | {"plan": plan}, f"127.0.0.1:{port}", env=env)
    launched.wait_http(port, "/asked-for")
    launched.stop()

    assert bool(re.search("/asked-for", launched.stdout + launched.stderr)) == wanted


@pytest.mark.parametrize("workers", [1, 2])
@each_server
def test_plain_server(spawn: Spawner, project: MakeProject, asked: dict[str, Any], workers: int) -> None:
    """The bare server serves on the socket that was bound before, in the same process."""
    port = free_port()
    plan = {"workers": workers, "pool": {"plain": True}}
    launched = start(spawn, project({"main.py": APP}), asked | {"plan": plan}, f"127.0.0.1:{port}")
    said = tell(launched, port)

    assert launched.pid in (said["pid"], said["ppid"])


def watches(pid: int) -> bool:
    """Tell whether a process waits for changes of files."""
    return any("inotify" in os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())


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
    until(lambda: another_worker(port, {before}), "the restart")
    launched.signal(signal.SIGTERM)

    assert launched.wait() == 0


def test_bind_early_keeps_connections_for_the_server(spawn: Spawner, project: MakeProject) -> None:
    """Listening from the start on, the socket is the one that the server answers on."""
    port = free_port()
    launched = start(spawn, project({"main.py": APP}), GUNICORN | {"listen": True}, f"127.0.0.1:{port}")

    assert launched.wait_http(port)[0] == 200
