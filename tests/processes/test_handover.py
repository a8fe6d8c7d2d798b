"""Does the process that becomes the server carry over what it must, and nothing else?"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import become
from support.signals import is_asleep, signal_masks
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.launched import Launched
    from support.spawning import Options, Spawner

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
STAND_IN = ["sleep", "600"]
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def start(spawn: Spawner, asked: dict[str, Any], **options: Any) -> Launched:
    """Start the driver."""
    chosen: Options = options  # type: ignore[assignment]  # the names are checked where they are used
    return spawn([sys.executable, become.__file__, json.dumps(asked)], **chosen)


def become_sleep(spawn: Spawner, asked: dict[str, Any], **options: Any) -> Launched:
    """Return a process that has become `sleep`."""
    launched = start(spawn, {"argv": STAND_IN} | asked, **options)
    command_line = Path(f"/proc/{launched.pid}/cmdline")
    until(lambda: not launched.running or command_line.read_bytes().startswith(b"sleep"), "the exec")
    until(lambda: not launched.running or is_asleep(launched.pid), "sleep to have opened and closed its own files")
    assert launched.running, launched
    return launched


@pytest.fixture
def killed(spawn: Spawner) -> Iterator[None]:
    """End what became `sleep` with a plan: TERM waits until who reads the plan unblocks it, and `sleep` does not."""
    yield
    for launched in spawn.started:
        launched.popen.kill()


def environment(pid: int) -> dict[str, str]:
    """Return the environment a process was executed with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def descriptors(pid: int) -> dict[int, str]:
    """Return number -> target of the descriptors from 3 up."""
    folder = Path(f"/proc/{pid}/fd")
    return {int(link.name): str(link.readlink()) for link in folder.iterdir() if int(link.name) > 2}


@linux_only
def test_signals_are_as_at_the_start(spawn: Spawner) -> None:
    """Whatever boot ignored, handled or blocked, the server starts with default dispositions and an empty mask."""
    launched = become_sleep(spawn, {"mess": True})

    assert signal_masks(launched.pid)["SigIgn"] == set()
    assert signal_masks(launched.pid)["SigBlk"] == set()
    assert signal_masks(launched.pid)["SigCgt"] == set()


@linux_only
def test_a_signal_our_parent_ignored_stays_ignored(spawn: Spawner) -> None:
    """`nohup launcher run` means the server too."""
    driver = [sys.executable, become.__file__, json.dumps({"argv": STAND_IN, "mess": True})]
    launched = spawn(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *driver])
    command_line = Path(f"/proc/{launched.pid}/cmdline")
    until(lambda: command_line.read_bytes().startswith(b"sleep"), "the exec")

    assert signal_masks(launched.pid)["SigIgn"] == {signal.SIGHUP}


@linux_only
@pytest.mark.usefixtures("killed")
def test_only_sockets_and_the_plan_cross(spawn: Spawner) -> None:
    """Pipes, connections and files of boot are gone, though some were inheritable."""
    port = free_port()
    launched = become_sleep(spawn, {"mess": True, "bind": [f"127.0.0.1:{port}"], "handover": {"a": 1}})
    targets = sorted(target.split(":")[0] for target in descriptors(launched.pid).values())

    assert targets == ["/memfd", "socket"]


@linux_only
@pytest.mark.usefixtures("killed")
def test_the_plan_can_be_read_more_than_once(spawn: Spawner) -> None:
    """The number in the environment leads to the plan; nothing of it is in the environment or on the command line."""
    launched = become_sleep(spawn, {"handover": {"secret": "s3cret"}})
    variables = environment(launched.pid)
    path = Path(f"/proc/{launched.pid}/fd/{variables['LAUNCHER_PLAN_FD']}")

    assert [json.loads(path.read_text())["secret"] for _ in range(2)] == ["s3cret"] * 2
    assert "s3cret" not in str(variables)


@linux_only
def test_what_was_addressed_to_us_is_taken_out_of_the_environment(spawn: Spawner) -> None:
    """Systemd's variables were for the launcher; changes of the command are made, None removes."""
    env = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "GUNICORN_PID": "1", "DROP": "x", "KEEP": "y"}
    launched = become_sleep(spawn, {"environ": {"DROP": None, "ADDED": "z"}}, env=env)
    variables = environment(launched.pid)

    assert variables.keys().isdisjoint({"LISTEN_FDS", "LISTEN_PID", "GUNICORN_PID", "DROP", "LAUNCHER_PLAN_FD"})
    assert (variables["KEEP"], variables["ADDED"]) == ("y", "z")


def test_a_missing_program_is_127(spawn: Spawner) -> None:
    """As in every shell; the process is as before, so that it can say so."""
    launched = start(spawn, {"argv": ["no-such-program"], "mess": True})

    assert launched.wait() == 127
    assert "no-such-program is not there" in launched.stderr
    assert "still ours: True" in launched.stderr


def test_a_file_that_cannot_be_executed_is_126(spawn: Spawner, tmp_path: Path) -> None:
    """As in every shell: it is there, and it is no program."""
    program = tmp_path / "program"
    program.write_text("not executable")
    launched = start(spawn, {"argv": [str(program)]})

    assert launched.wait() == 126
    assert f"{program} could not be executed: Permission denied" in launched.stderr


def test_a_later_folder_of_path_is_tried(spawn: Spawner, tmp_path: Path) -> None:
    """A file of that name that cannot be executed does not hide the program behind it."""
    (tmp_path / "sleep").write_text("not executable")
    launched = start(spawn, {"argv": ["sleep", "0"]}, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})

    assert launched.wait() == 0


def test_a_taken_port_is_a_usage_error(spawn: Spawner) -> None:
    """The message names address and origin, the exit code is 2, and nothing was executed."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        launched = start(spawn, {"argv": STAND_IN, "bind": [f"127.0.0.1:{port}"]})

        assert launched.wait() == 2
    assert f"127.0.0.1:{port} (--test) is in use by another process" in launched.stderr


@linux_only
def test_systemds_sockets_win(spawn: Spawner) -> None:
    """A socket given by the rules of sd_listen_fds is the only one that is used."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        fd = given.fileno()
        asked = json.dumps({"argv": STAND_IN, "bind": [f"127.0.0.1:{free_port()}"]})
        launched = spawn([sys.executable, "-c", AS_SYSTEMD, str(fd), become.__file__, asked], pass_fds=[fd])
        until(lambda: Path(f"/proc/{launched.pid}/cmdline").read_bytes().startswith(b"sleep"), "the exec")
        inode = f"socket:[{os.fstat(fd).st_ino}]"

        assert descriptors(launched.pid) == {3: inode}
