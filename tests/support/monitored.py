"""How does a test start a launcher with its monitor, and ask it all that a person could?"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.launched import http_get
from support.monitor import UnixConnection
from support.pool import Pool, start_pool
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.launched import Launched
    from support.spawning import Launch

Answer = tuple[int, str]  # status, body
SLACK_S = 20.0  # this machine may be busy
# Says that it has begun, and ends when the test says so.
GATE = """
import pathlib, sys, time
gate = pathlib.Path(sys.argv[1])
gate.with_suffix(".begun").touch()
while not gate.exists():
    time.sleep(0.01)
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command ended with."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Steered:
    """A launcher that answers probes on `health_port` and on the socket in `runtime_dir`."""

    pool: Pool
    folder: Path
    health_port: int
    runtime_dir: Path
    launch: Launch

    @property
    def run(self) -> Launched:
        """The launcher's process, later the server's."""
        return self.pool.launched

    @property
    def socket(self) -> Path:
        """The management socket."""
        return self.runtime_dir / f"{self.run.pid}.sock"

    def begin(self, *words: str) -> Launched:
        """Start a command in the folder of the application."""
        return self.launch(*words, cwd=self.folder, env={"LAUNCHER_RUNTIME_DIR": str(self.runtime_dir)})

    def command(self, *words: str) -> Outcome:
        """Run a command to its end."""
        return ended(self.begin(*words))

    def local(self, path: str) -> Answer:
        """Return the answer of the Unix socket. Raises OSError when nobody answers."""
        connection = UnixConnection(self.socket, SLACK_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from None
        finally:
            connection.close()

    def tcp(self, path: str) -> Answer | None:
        """Return the answer over TCP, None when nobody answers."""
        return http_get(self.health_port, path)

    def status(self) -> dict[str, Any]:
        """Return what `/status` tells. Raises OSError when nobody answers."""
        return dict(json.loads(self.local("/status")[1]))

    def told(self, timeout_s: float = SLACK_S) -> dict[str, Any]:
        """Return what `/status` tells as soon as somebody answers."""

        def answer() -> dict[str, Any] | None:
            with contextlib.suppress(OSError):
                return self.status()
            return None

        return until(answer, "somebody who tells the status", timeout_s) or {}

    def says(self, path: str, text: str, timeout_s: float = SLACK_S) -> Answer:
        """Return the answer of the Unix socket as soon as this text is in it."""

        def answer() -> Answer | None:
            got = self.local(path)
            return got if text in got[1] else None

        got = self.pool.until(answer, f"{text!r} in {path}", timeout_s)
        assert got is not None
        return got


def start_steered(launch: Launch, folder: Path, server: str, *words: str, **options: Any) -> Steered:
    """Start `launcher run` in a folder with a `main.py`; `options` as `start_pool` has them.

    Two more of them: `health_port`, else any (0: no probes over TCP); `runtime_dir`, else a folder in the project's.
    """
    port, runtime_dir = options.pop("health_port", None), options.pop("runtime_dir", folder / "run")
    port = free_port() if port is None else port
    told = ("--runtime-dir", str(runtime_dir), *(("--health-bind", f"127.0.0.1:{port}") if port else ()))
    return Steered(start_pool(launch, folder, server, *told, *words, **options), folder, port, runtime_dir, launch)


def ready_steered(launch: Launch, folder: Path, server: str, *words: str, **options: Any) -> Steered:
    """Start one and return when all its workers are ready."""
    steered = start_steered(launch, folder, server, *words, **options)
    steered.pool.ready(options.get("workers", 2))
    return steered


def ended(launched: Launched) -> Outcome:
    """Wait for a command's end."""
    code = launched.wait()
    return Outcome(code, launched.stdout, launched.stderr)


def gated_step(name: str, gate: Path) -> str:
    """Return the table of a step that runs until the test makes the file `gate`."""
    return f'[[prestart]]\nname = "{name}"\nrun = ["{sys.executable}", "gate.py", "{gate}"]\n'


def other_monitor(steered: Steered, before: dict[str, Any]) -> dict[str, Any] | None:
    """Return the status when another monitor tells it than the one that told `before`."""
    with contextlib.suppress(OSError):
        now = steered.status()
        return now if now["monitor"]["pid"] != before["monitor"]["pid"] else None
    return None


def gone(pids: Iterable[int], timeout_s: float) -> None:
    """Return when none of them lives any more (a zombie does not); AssertionError when one still does."""
    left = list(pids)
    until(lambda: not [pid for pid in left if _lives(pid)], f"the end of {left}", timeout_s)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - /proc
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def links(pid: int | str) -> set[str]:
    """Return what the descriptors of a process are: sockets, memory files, ... (not the three standard ones)."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - what is read may be gone at the next look
        with contextlib.suppress(OSError):
            found |= {os.readlink(f"/proc/{pid}/fd/{name}")} if int(name) > 2 else set()  # noqa: PTH115 - as above
    return found
