"""How does a test put a server under load and count what failed?"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.waiting import POLL_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.launched import Launched
    from support.pool import Pool
    from support.spawning import Spawner

# A pause before each request: what is tested is who fails, not how many there are, and the workers need the processor.
_SCRIPT = """
function delay() return math.random(1, PAUSE) end
function done(summary, latency, requests)
    local e = summary.errors
    print(string.format('{"requests": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}',
        summary.requests, e.connect, e.read, e.write, e.status, e.timeout))
end
"""
_LONGEST_S = 300


@dataclass(frozen=True, slots=True)
class Wrk:
    """A running `wrk`."""

    launched: Launched

    def end(self) -> dict[str, int]:
        """Stop it; return how many requests there were and how many failed, by kind."""
        self.launched.signal(signal.SIGINT)
        self.launched.wait()
        return dict(json.loads(self.launched.stdout.splitlines()[-1]))


def wrk(spawn: Spawner, folder: Path, port: int, *headers: str, pause_ms: int = 8, connections: int = 4) -> Wrk:
    """Start `wrk` on this port of loopback with so many connections; `pause_ms`: the longest before a request."""
    script = folder / f"load-{pause_ms}.lua"
    script.write_text(_SCRIPT.replace("PAUSE", str(pause_ms)))
    words = ["-t1", f"-c{connections}", f"-d{_LONGEST_S}s", "--timeout", "10s", "-s", str(script)]
    sent = [word for header in headers for word in ("-H", header)]
    return Wrk(spawn(["wrk", *words, *sent, f"http://127.0.0.1:{port}/"], cwd=folder))


@dataclass(slots=True)
class Watched:
    """What was seen of a pool's processes."""

    most: int = 0
    looks: int = 0
    pids: list[int] = field(default_factory=list)  # at the moment when there were the most


@contextlib.contextmanager
def watching(pool: Pool) -> Iterator[Watched]:
    """Look at the workers again and again while the block runs."""
    seen, over = Watched(), threading.Event()

    def look() -> None:
        while not over.wait(2 * POLL_S):
            pids = pool.workers()
            seen.looks += 1
            if len(pids) > seen.most:
                seen.most, seen.pids = len(pids), pids

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def errors(counted: dict[str, Any]) -> dict[str, Any]:
    """Return the kinds of errors that were counted at all."""
    return {kind: count for kind, count in counted.items() if kind != "requests" and count}
