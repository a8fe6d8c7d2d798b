"""What does somebody see who probes a launcher a hundred times a second, all its life?

`python probes.py JSON` asks, by `sockets` ("tcp:PORT" or "unix:FOLDER", for the only socket in it) in turn, for
`paths` in turn, `rate` times a second, each time over a connection of its own, whether the answers before have come or
not; it prints one JSON line for each. A process of its own: what keeps the test busy must not look like a late answer.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from support.launched import Launched
    from support.spawning import Spawner

RATE = 100
PATIENCE_S = 10.0
_THREADS = 32
PATHS = ("/livez", "/startupz?verbose", "/readyz?verbose")


@dataclass(frozen=True, slots=True)
class Probe:
    """One request: when it was begun (seconds of the wall clock), by which socket, and what came of it.

    status: HTTP's; 0: no answer, and `text` is why.
    """

    at: float
    by: str
    path: str
    status: int
    text: str
    took_s: float

    @property
    def ended(self) -> float:
        """When it was over."""
        return self.at + self.took_s


@dataclass(frozen=True, slots=True)
class Prober:
    """Probes until it is stopped."""

    process: Launched

    def probes(self) -> list[Probe]:
        """Return what was asked until now, in the order in which it was begun."""
        whole = self.process.stdout.rpartition("\n")[0]  # the last line may be half written
        return sorted((Probe(**json.loads(line)) for line in whole.splitlines()), key=lambda probe: probe.at)

    def stop(self) -> list[Probe]:
        """End it and return all."""
        self.process.stop()
        return self.probes()


def start_prober(spawn: Spawner, *sockets: str, paths: Sequence[str] = PATHS, rate: int = RATE) -> Prober:
    """Start one; return when it probes."""
    asked = {"sockets": sockets, "paths": paths, "rate": rate}
    from support.waiting import until  # not in the child, which has no path to it

    prober = Prober(spawn([sys.executable, "-SP", __file__, json.dumps(asked)]))
    until(prober.probes, "the first probe", 20)
    return prober


def answered(probes: Sequence[Probe], path: str = "/", by: str = "") -> list[Probe]:
    """Return those with an answer."""
    return [probe for probe in probes if probe.status and probe.path.startswith(path) and probe.by.startswith(by)]


def failed(probes: Sequence[Probe]) -> list[Probe]:
    """Return those without an answer."""
    return [probe for probe in probes if not probe.status]


def between(probes: Sequence[Probe], begin: float, end: float) -> list[Probe]:
    """Return those that were begun in this time."""
    return [probe for probe in probes if begin <= probe.at < end]


def refused(probes: Sequence[Probe], end: float) -> list[Probe]:
    """Return those without an answer, of each socket from its first answer on, that were begun before `end`."""
    firsts = {probe.by: probe.at for probe in reversed(answered(probes))}
    return [probe for probe in failed(probes) if firsts.get(probe.by, end) <= probe.at < end]


def p95_s(probes: Sequence[Probe]) -> float:
    """Return what 95 of 100 were answered within."""
    return quantiles((probe.took_s for probe in probes), n=20)[-1]


def _connect(where: str) -> socket.socket:
    kind, _, address = where.partition(":")
    client = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    client.settimeout(PATIENCE_S)
    client.connect(_only_socket(Path(address)) if kind == "unix" else ("127.0.0.1", int(address)))
    return client


def _only_socket(folder: Path) -> str:
    found = list(folder.glob("*.sock"))
    if len(found) != 1:
        raise FileNotFoundError(f"{len(found)} sockets")
    return str(found[0])


def _probe(where: str, path: str, say: Callable[[Probe], None]) -> None:
    at, began, status = time.time(), time.monotonic(), 0
    try:
        with contextlib.closing(_connect(where)) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: launcher\r\nConnection: close\r\n\r\n".encode())
            said = b"".join(_received(client))
        head, _, body = said.partition(b"\r\n\r\n")
        status, text = int(head.split()[1]) if head else 0, body.decode() or "an empty answer"
    except OSError as error:
        text = repr(error)
    say(Probe(at, where, path, status, text, time.monotonic() - began))


def _received(client: socket.socket) -> Iterator[bytes]:
    while piece := client.recv(1 << 16):
        yield piece


def _say(probe: Probe) -> None:
    sys.stdout.write(json.dumps(asdict(probe)) + "\n")  # one write of a line: those of other threads are not mixed in
    sys.stdout.flush()


def main() -> None:
    """Probe until it is killed."""
    asked = json.loads(sys.argv[1])
    due = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as pool:
        for path, where in itertools.cycle(itertools.product(asked["paths"], asked["sockets"])):
            pool.submit(_probe, where, path, _say)
            due += 1 / asked["rate"]
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
