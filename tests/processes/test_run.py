"""Does `launcher run` become the server that was asked for, with what the steps and the settings decided?"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.commands import APPENDS, error_of, serving, times, toml
from support.serving import APP
from support.signals import is_asleep, signal_masks
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SERVERS = {
    "gunicorn": ("--server", "gunicorn", "--workers", "1"),
    "gunicorn-asgi": ("--server", "gunicorn", "--worker-class", "asgi", "--workers", "1"),
    "uvicorn": ("--server", "uvicorn", "--workers", "1"),
    "uvicorn-2": ("--server", "uvicorn", "--workers", "2"),
}
each_server = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
STEP = 'name = "seed"\nrun = "{python} seed.py"'

# A server of the user's own: a stand-in that shows how it was executed.
PLUGIN = """
from launcher.servers import ServerCommand

class StandIn:
    name = "stand-in"

    def command(self, plan):
        return ServerCommand(argv=({program!r}, "600"))

launcher_servers = {{"stand-in": StandIn}}
"""


def descriptors(pid: int) -> set[str]:
    """Return what the descriptors from 3 up lead to, without numbers."""
    links = [link for link in Path(f"/proc/{pid}/fd").iterdir() if int(link.name) > 2]
    found = set()
    for link in links:
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            found.add(str(link.readlink()).partition(":[")[0])
    return found


@linux_only
@each_server
def test_the_server_is_the_launcher_s_process(launch: Launch, project: MakeProject, server: tuple[str, ...]) -> None:
    """After a step the server has the launcher's pid, nothing of the lock is open, and TERM ends it with 0."""
    folder = project({"main.py": APP, "seed.py": APPENDS, "launcher.toml": toml(STEP)})
    port = free_port()
    launched = launch("run", *server, "--port", str(port), cwd=folder)
    said = serving(launched, port)
    lock_files = [link for link in descriptors(launched.pid) if ".launcher" in link or link.endswith(".lock")]
    launched.signal(signal.SIGTERM)

    assert launched.pid in (said["pid"], said["ppid"])
    assert lock_files == []
    assert launched.wait() == 0, launched
    assert times(folder) == 1


@linux_only
def test_the_exec_hands_over_sockets_and_nothing_else(launch: Launch, project: MakeProject) -> None:
    """At the exec the process has the listening socket, default handlers and an empty mask: nothing of boot's."""
    plugins = 'plugins = ["ops"]\nserver = "stand-in"'
    files = {"main.py": APP, "seed.py": APPENDS, "ops.py": PLUGIN.format(program="sleep")}
    folder = project(files | {"launcher.toml": toml(STEP, head=plugins)})
    launched = launch("run", "--port", str(free_port()), cwd=folder)
    until(lambda: Path(f"/proc/{launched.pid}/cmdline").read_bytes() == b"sleep\x00600\x00", "the exec")
    until(lambda: is_asleep(launched.pid), "sleep to have opened and closed its own files")

    assert signal_masks(launched.pid) == {"SigBlk": set(), "SigIgn": set(), "SigCgt": set()}
    assert descriptors(launched.pid) == {"socket"}


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("./main.py", 126), ("/", 126)])
def test_a_server_that_cannot_be_executed(launch: Launch, project: MakeProject, program: str, code: int) -> None:
    """127 for a program that is not there, 126 for one that must not be executed; named, and no socket file stays."""
    plugins = 'plugins = ["ops"]\nserver = "stand-in"\n'
    folder = project({"main.py": APP, "ops.py": PLUGIN.format(program=program), "launcher.toml": plugins})
    launched = launch("run", "--uds", "app.sock", cwd=folder)

    assert launched.wait() == code
    assert not (folder / "app.sock").exists()
    assert program in error_of(launched)
    assert "Traceback" not in launched.stderr


def test_arguments_after_dashes_reach_gunicorn(launch: Launch, project: MakeProject) -> None:
    """What stands after `--` is in gunicorn's command line as it was written."""
    folder = project({"main.py": APP})
    port = free_port()
    launched = launch("run", "--port", str(port), "--workers", "1", "--", "--keep-alive", "7", cwd=folder)
    serving(launched, port)
    handed_over = launched.wait_event("launcher.handed_over")["argv"]

    assert ("--keep-alive", "7") in itertools.pairwise(handed_over)


def test_a_variable_is_an_option(launch: Launch, project: MakeProject) -> None:
    """LAUNCHER_PORT and LAUNCHER_SERVER do what --port and --server do; a service link of Kubernetes is not taken."""
    folder = project({"main.py": APP})
    port = free_port()
    environ = {"LAUNCHER_BIND": f"127.0.0.1:{port}", "LAUNCHER_SERVER": "uvicorn", "LAUNCHER_WORKERS": "1"}
    launched = launch("run", cwd=folder, env=environ | {"LAUNCHER_PORT": "tcp://10.0.0.7:80"})

    assert serving(launched, port)["pid"] == launched.pid


def test_origins(launch: Launch, project: MakeProject) -> None:
    """Each value of the plan says where it is from: command line, LAUNCHER_*, file, platform's variable, default."""
    folder = project({"main.py": APP, "launcher.toml": 'root_path = "/api"\n'})
    environ = {"LAUNCHER_SERVER": "uvicorn", "WEB_CONCURRENCY": "3"}
    launched = launch("plan", "--json", "--port", "8123", cwd=folder, env=environ)
    assert launched.wait() == 0, launched
    settings = json.loads(launched.stdout)["settings"]
    origins = {name: settings[name]["origin"] for name in ("port", "server", "root_path", "workers", "keep_alive")}

    assert {name: origin["kind"] for name, origin in origins.items()} == {
        "port": "command-line",
        "server": "environment",
        "root_path": "file",
        "workers": "platform",
        "keep_alive": "default",
    }
    assert [origins["server"]["where"], origins["workers"]["where"]] == ["LAUNCHER_SERVER", "WEB_CONCURRENCY"]
    assert "launcher.toml" in origins["root_path"]["where"]


SEES = "import os; open('seen', 'w').write(os.environ.get('FROM_SCRIPT', '(nothing)'))"


@pytest.mark.parametrize("end", ["", "exit 0\n"], ids=["to its end", "exit 0"])
@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_exports_of_pre_start_path(launch: Launch, project: MakeProject, server: str, end: str) -> None:
    """What the script exports is seen by the server and by later steps, also when the script itself exits with 0."""
    script = "#!/bin/sh\nexport FROM_SCRIPT='a b'\nunset TO_GO\n" + end
    later = toml('name = "later"\nonce_per = "start"\nrun = "{python} later.py"')
    folder = project({"main.py": APP, "prestart.sh": script, "later.py": SEES, "launcher.toml": later})
    port = free_port()
    environ = {"PRE_START_PATH": str(folder / "prestart.sh"), "TO_GO": "x", "WEB_CONCURRENCY": "1"}
    launched = launch("run", "--server", server, "--port", str(port), cwd=folder, env=environ)
    environ = serving(launched, port)["environ"]

    assert environ.get("FROM_SCRIPT") == "a b"
    assert "TO_GO" not in environ
    assert (folder / "seen").read_text() == "a b"


def test_a_failing_pre_start_path(launch: Launch, project: MakeProject) -> None:
    """A script that fails ends the start with 10 and shows what it said; nothing is served."""
    folder = project({"main.py": APP, "prestart.sh": "echo the seed is missing >&2\nfalse\n"})
    port = free_port()
    launched = launch("run", "--port", str(port), cwd=folder, env={"PRE_START_PATH": "prestart.sh"})

    assert launched.wait() == 10
    assert "the seed is missing" in error_of(launched)
    assert launched.event("launcher.handed_over") is None


@pytest.mark.parametrize("argv", [("-m", "launcher"), ()], ids=["python -m launcher", "launcher"])
def test_both_spellings_of_the_command(spawn: Spawner, project: MakeProject, argv: tuple[str, ...]) -> None:
    """`python -m launcher run` and `launcher run` serve alike."""
    start = [sys.executable, *argv] if argv else [Path(sys.executable).with_name("launcher")]
    port = free_port()
    launched = spawn([*start, "run", "--port", str(port), "--workers", "1"], cwd=project({"main.py": APP}))

    assert serving(launched, port)["ppid"] == launched.pid


@pytest.mark.parametrize("closed", ["<&- 2>&-", "<&- >&- 2>&-"], ids=["stdin stderr", "all"])
def test_closed_standard_streams(spawn: Spawner, project: MakeProject, closed: str) -> None:
    """With standard streams closed it serves all the same, and no socket takes the place of a stream."""
    port = free_port()
    command = [sys.executable, "-m", "launcher", "run", "--port", str(port), "--workers", "1"]
    files = {"main.py": APP, "seed.py": APPENDS, "launcher.toml": toml(STEP)}
    launched = spawn(["sh", "-c", f'exec "$@" {closed}', "sh", *command], cwd=project(files))
    serving(launched, port)
    targets = [str(Path(f"/proc/{launched.pid}/fd/{number}").readlink()) for number in (0, 1, 2)]
    launched.signal(signal.SIGTERM)

    assert not any(target.startswith("socket:") for target in targets)
    assert launched.wait() == 0


def test_no_home(launch: Launch, project: MakeProject) -> None:
    """Without HOME, and with one that is not there, steps run and the server serves."""
    folder = project({"main.py": APP, "seed.py": APPENDS, "launcher.toml": toml(STEP + '\nonce_per = "start"')})
    ports = free_port(), free_port()
    homes = (None, "/no/such/home")
    for port, home in zip(ports, homes, strict=True):
        launched = launch("run", "--port", str(port), "--workers", "1", cwd=folder, env={"HOME": home})
        serving(launched, port)

    assert times(folder) == 2
