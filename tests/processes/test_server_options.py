"""Does what was asked for reach the real servers, and what the user configured beside it?"""

from __future__ import annotations

import http.client
import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from support.serving import APP, GUNICORN, each_pool, each_server, start, tell
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Spawner


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


def header(port: int, name: str) -> str | None:
    """Return a header of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/")
    value = connection.getresponse().headers[name]
    connection.close()
    return value


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
