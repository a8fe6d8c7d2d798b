"""How does a test get a monitor without a launcher?

By doing what the launcher does: the test process makes scoreboard, channel and listeners and is the monitor's parent.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from launcher.channel import Channel, pair
from launcher.crossing import PLAN_FD, write_plan
from launcher.scoreboard import Board, BoardState, Slot, Stage
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.launched import Launched
    from support.spawning import Spawner

BACKLOG = 4096  # as many as the kernel allows; who floods a smaller one keeps probes from connecting at all
ANSWERED_S = 0.5  # what every probe has to be answered within


class Got(NamedTuple):
    """An answer, and how long it took."""

    status: int
    body: str
    headers: Mapping[str, str]
    took_s: float


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("launcher", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of the host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Handmade:
    """What the launcher has before there is a monitor: the scoreboard, the channel, the listeners."""

    board: Board
    server: Channel  # the server's end
    monitor_fd: int  # the monitor's end
    unix: socket.socket
    tcp: socket.socket
    path: Path
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The TCP port."""
        port: int = self.tcp.getsockname()[1]
        return port

    @property
    def fds(self) -> tuple[int, ...]:
        """What the monitor inherits."""
        return (self.board.fd, self.monitor_fd, self.unix.fileno(), self.tcp.fileno())

    def plan(self, parent: int) -> dict[str, Any]:
        """Return the plan of a monitor whose parent is this process."""
        return {
            "board": self.board.fd,
            "channel": self.monitor_fd,
            "unix": self.unix.fileno(),
            "tcp": [self.tcp.fileno()],
            "parent": parent,
            "server": "uvicorn",
            "memory": {"limit_bytes": 1 << 30, "budget_bytes": 1 << 29, "source": "a test"},
            "started_at": time.time(),
            "app": "main:app",
            **self.extra,
        }

    def close(self) -> None:
        """Close everything."""
        self.server.close()
        os.close(self.monitor_fd)
        self.unix.close()
        self.tcp.close()

    def serving(self, *, workers: int = 1, wanted: int | None = None) -> list[Slot]:
        """Pretend to be a server with so many ready workers; return their slots."""
        self.board.arbiter_pid = os.getpid()
        self.board.wanted = workers if wanted is None else wanted
        self.board.heartbeat = time.monotonic()
        slots = [self.board.slot(index) for index in range(workers)]
        for number, slot in enumerate(slots, 1):
            slot.clear(generation=1, number=number)
            slot.pid = os.getpid()
            slot.stage = Stage.READY
            slot.beat(0.0, 0)
        self.board.state = BoardState.SERVING
        return slots

    def get(self, target: str, *, accept: str = "*/*", timeout_s: float = 10) -> Got:
        """Return the answer to GET over TCP."""
        return _ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s), "GET", target, accept=accept)

    def local(self, target: str, *, accept: str = "*/*") -> Got:
        """Return the answer to GET over the Unix socket."""
        return _ask(UnixConnection(self.path, 10), "GET", target, accept=accept)

    def json(self, target: str) -> Any:
        """Return the JSON that is at `target` of the Unix socket."""
        return json.loads(self.local(target).body)

    def client(self) -> socket.socket:
        """Return a connection to the TCP listener."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


def handmade(folder: Path, **extra: Any) -> Handmade:
    """Return everything a monitor needs; `extra` goes into its plan."""
    server, monitor_fd = pair()
    unix = socket.socket(socket.AF_UNIX)
    path = folder / "m.sock"
    unix.bind(str(path))
    unix.listen(BACKLOG)
    tcp = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    return Handmade(Board.create(), Channel(server), monitor_fd, unix, tcp, path, extra)


@dataclass
class Monitored(Handmade):
    """A monitor that runs, and whose parent the test is."""

    process: Launched = field(kw_only=True)

    @property
    def pid(self) -> int:
        """The monitor's."""
        return self.process.pid


def start(
    spawn: Spawner, made: Handmade, argv: Sequence[str] = (sys.executable, "-P", "-m", "launcher.monitor")
) -> Monitored:
    """Start a monitor and return when it answers."""
    plan = write_plan(made.plan(os.getpid()))
    try:
        process = spawn(
            argv,
            env={PLAN_FD: str(plan)},
            pass_fds=(plan, *made.fds),
        )
    finally:
        os.close(plan)
    monitored = Monitored(**vars(made), process=process)
    until(lambda: monitored.get("/livez").status, "the first answer", 20)
    return monitored


def private_bytes(pid: int) -> int:
    """Return what of a process's memory nobody shares with it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask(connection: http.client.HTTPConnection, method: str, target: str, *, accept: str) -> Got:
    before = time.monotonic()
    try:
        connection.request(method, target, headers={"Accept": accept})
        response = connection.getresponse()
        body = response.read().decode()
        return Got(response.status, body, dict(response.headers), time.monotonic() - before)
    finally:
        connection.close()
