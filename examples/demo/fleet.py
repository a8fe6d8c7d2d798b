"""What is each replica doing? Known from its log, its end and its first answer, and from nothing it keeps for us."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).parent / "project"
BIN = Path(sys.executable).parent
END_S = 8.0
JOURNAL = "DEMO_JOURNAL"


class State(StrEnum):
    """What a replica does, in the words of the picture."""

    STARTING = "starting"
    WAITING = "waiting"
    HOLDER = "has lock"
    SUCCESSOR = "takes over"
    MIGRATING = "migrating"
    MIGRATED = "migrated"
    SKIPPED = "skips"
    SERVING = "serving"
    KILLED = "killed -9"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to start a replica. `signs`: what in its log says which state; `listens`: that it is about to serve."""

    title: str
    argv: tuple[str, ...]
    signs: Mapping[str, State]
    listens: str


def launcher_way(lock: str, expiry: str) -> Way:
    """Return how a replica is started with the launcher; $PORT and $DATABASE_URL are in the environment."""
    argv = ("run", "--server", "uvicorn", "--workers", "1", "--host", "127.0.0.1", "--yes", "--log-format", "json")
    signs = {
        "launcher.lock_busy": State.WAITING,
        "launcher.lock_acquired": State.HOLDER,
        "launcher.takeover_begun": State.SUCCESSOR,
        "launcher.attempt_put_off": State.WAITING,
        "launcher.step_started": State.MIGRATING,
        "launcher.step_done": State.MIGRATED,
        "launcher.step_skipped": State.SKIPPED,
    }
    command = (sys.executable, "-m", "launcher", *argv, "--lock", lock, "--lock-expiry", expiry)
    return Way("launcher run", command, signs, "launcher.handed_over")


SCRIPT = (
    "alembic upgrade head && "
    "exec gunicorn -k uvicorn_worker.UvicornWorker -w 1 -b 127.0.0.1:$PORT --no-control-socket main:app"
)
SCRIPT_WAY = Way(
    "alembic upgrade head && gunicorn", ("bash", "-c", SCRIPT), {"Running upgrade": State.MIGRATING}, "Listening at:"
)


@dataclass(slots=True)
class Replica:
    """One process, in a folder of its own as a container has it."""

    number: int
    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    state: State = State.STARTING
    listens: bool = False
    served: threading.Event = field(default_factory=threading.Event)
    read_bytes: int = 0
    said: str = ""

    @property
    def log(self) -> Path:
        """What it wrote on stdout and stderr."""
        return self.folder / "log"

    def new_lines(self) -> list[str]:
        """Return the whole lines written since the last call."""
        with self.log.open("rb") as file:
            file.seek(self.read_bytes)
            *lines, _unfinished = file.read().split(b"\n")
        self.read_bytes += sum(len(line) + 1 for line in lines)
        return [line.decode(errors="replace") for line in lines]

    def wait_served(self) -> None:
        """Ask until it answers 200 or has ended; for a thread of its own."""
        while self.process.poll() is None and not self.served.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    self.served.set()
            connection.close()
            time.sleep(0.1)


class Fleet:
    """Replicas that are started at once on one database."""

    def __init__(self, way: Way, folder: Path, url: str, migration_s: float) -> None:
        """Start nothing yet; everything it writes is below `folder`."""
        self.way, self.folder = way, folder
        self.journal = folder / "journal"
        self.replicas: list[Replica] = []
        # Of the person's own settings none: WEB_CONCURRENCY, LAUNCHER_..., an active environment.
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR", "HOME") if name in os.environ}
        self._environ = {
            **kept,
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "DATABASE_URL": url,
            "DEMO_MIGRATION_SECONDS": str(migration_s),
            JOURNAL: str(self.journal),
        }

    def prepare(self, count: int) -> None:
        """Give each replica a copy of the project."""
        for number in range(1, count + 1):
            shutil.copytree(PROJECT, self.folder / f"{number:02}", ignore=shutil.ignore_patterns(".launcher"))

    def start(self, ports: list[int]) -> None:
        """Start one replica a port, all at once."""
        for number, port in enumerate(ports, 1):
            folder = self.folder / f"{number:02}"
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    self.way.argv,
                    cwd=folder,
                    env={**self._environ, "PORT": str(port)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # ctrl-C on the terminal is ours to obey
                )
            self.replicas.append(Replica(number, port, folder, process))

    def observe(self) -> None:
        """Bring the states up to date."""
        for replica in self.replicas:
            if replica.state in {State.KILLED, State.FAILED}:
                continue
            ended = replica.process.poll() is not None  # asked before the reading: the last words must not be missed
            self._read(replica)
            if ended:
                replica.state, replica.said = State.FAILED, failure(replica.log.read_text(errors="replace"))
            elif replica.served.is_set():
                replica.state = State.SERVING

    def _read(self, replica: Replica) -> None:
        for line in replica.new_lines():
            said = event(line)
            if self.way.listens in said and not replica.listens:
                replica.listens = True
                threading.Thread(target=replica.wait_served, daemon=True).start()
            for sign, state in self.way.signs.items():
                if sign in said:
                    replica.state = state

    def count(self, *states: State) -> int:
        """Return how many replicas are in one of these states."""
        counts = Counter(replica.state for replica in self.replicas)
        return sum(counts[state] for state in states)

    @property
    def settled(self) -> bool:
        """Whether each replica serves or has ended."""
        return bool(self.replicas) and len(self.replicas) == self.count(State.SERVING, State.FAILED, State.KILLED)

    def migrating(self) -> Replica | None:
        """Return who says to be migrating."""
        return next((replica for replica in self.replicas if replica.state is State.MIGRATING), None)

    def kill(self, replica: Replica) -> None:
        """`kill -9` of the replica's one process: nothing else is told."""
        replica.process.send_signal(signal.SIGKILL)
        replica.process.wait()
        replica.state = State.KILLED

    def end(self) -> None:
        """Ask all to end, then make them, whatever they started included."""
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.process.terminate()
        _gone, left = psutil.wait_procs(self._left(), timeout=END_S)
        while left:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=END_S)
            left = self._left()
        for replica in self.replicas:
            replica.process.wait()

    def _left(self) -> list[psutil.Process]:
        """Return every process that has our journal in its environment, whoever adopted it."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(JOURNAL) == str(self.journal) and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False  # gone meanwhile, or another user's


def event(line: str) -> str:
    """Return the event's name of a line of the launcher's, any other line as it is."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            return str(json.loads(line).get("event", ""))
    return line


def failure(log: str) -> str:
    """Return the line of a failed start's log that says why."""
    errors = re.findall(r"^[\w.]*Error: (?:\([\w.]+\) )?(.+)$", log, re.MULTILINE)
    messages = re.findall(r'"launcher.start_failed".*"message": "([^"]+)', log)
    lines = [*errors[-1:], *messages[-1:], *log.strip().splitlines()[-1:]]
    return lines[0] if lines else "no output"
