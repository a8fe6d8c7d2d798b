"""How does a test start a pool of workers, and what can it see of it?"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from support.launched import http_get
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from support.launched import Launched
    from support.spawning import Launch, Spawner

T = TypeVar("T")

APP = (Path(__file__).parents[1] / "apps" / "pool_app.py").read_text(encoding="utf-8")
SERVERS: dict[str, tuple[str, ...]] = {
    "gunicorn": ("--server", "gunicorn"),
    "gunicorn-asgi": ("--server", "gunicorn", "--worker-class", "asgi"),
    "uvicorn": ("--server", "uvicorn"),
}
BARE = ("gunicorn", "uvicorn")
each_pool = pytest.mark.parametrize("server", SERVERS)
both_servers = pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
each_bare = pytest.mark.parametrize("bare", BARE)  # the control: the same with the server's own command
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
PATIENCE_S = 20.0  # this machine may be busy
_PAUSE_S = 0.01
_HELPERS = ("resource_tracker", "launcher.monitor")  # children of an arbiter that are no workers


@dataclass(frozen=True, slots=True)
class Pool:
    """A started server, the launcher's or a bare one, on a port of loopback."""

    launched: Launched
    port: int
    arbiter: int = 0

    @property
    def pid(self) -> int:
        """The arbiter's process id."""
        return self.arbiter or self.launched.pid

    def named(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """Return the events of this name with these facts."""
        events = [record for record in self.launched.events if record.get("event") == f"launcher.{event}"]
        return [record for record in events if facts.items() <= record.items()]

    def until(self, condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
        """Return the first truthy result of `condition`; an AssertionError with all that was logged otherwise."""
        try:
            return until(lambda: condition() or self._lives(), what, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.launched}") from None

    def seen(self, event: str, count: int = 1, timeout_s: float = PATIENCE_S, **facts: object) -> list[dict[str, Any]]:
        """Return the events of this name with these facts as soon as there are `count`."""

        def found() -> list[dict[str, Any]] | None:
            events = self.named(event, **facts)
            return events if len(events) >= count else None

        return self.until(found, f"{count} x {event} {facts or ''}", timeout_s) or []

    def ready(self, count: int, timeout_s: float = PATIENCE_S) -> set[int]:
        """Return the pids of all that were ever ready, as soon as there are `count`."""
        return {event["pid"] for event in self.seen("worker_ready", count, timeout_s)}

    def workers(self) -> list[int]:
        """Return the pids of its workers that live, oldest first."""
        return [pid for pid in _children(self.pid, "zombies excluded") if not _is_helper(pid)]

    def zombies(self) -> list[int]:
        """Return its children that ended and were not reaped."""
        return sorted(set(_children(self.pid)) - set(_children(self.pid, "zombies excluded")))

    def ask(self, path: str = "/") -> dict[str, Any] | None:
        """Return what a worker says, or None when nobody answers."""
        answer = http_get(self.port, path)
        return dict(json.loads(answer[1])) if answer and answer[0] == 200 else None

    def asked(self, path: str = "/") -> dict[str, Any]:
        """Return what a worker says, as soon as somebody answers."""
        return self.until(lambda: self.ask(path), f"an answer to {path}") or {}

    def tell(self, signum: signal.Signals) -> None:
        """Send the arbiter a signal."""
        os.kill(self.pid, signum)

    def kill(self, worker: int) -> None:
        """Kill a worker as the kernel's out-of-memory killer would."""
        os.kill(worker, signal.SIGKILL)

    def end(self, signum: signal.Signals = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int:
        """Send the arbiter a signal and return what the server exits with."""
        self.tell(signum)
        return self.launched.wait(timeout_s)

    def _lives(self) -> Any:
        assert self.launched.running, "it ended"


@dataclass(slots=True)
class Asked:
    """What came of one request after the other."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def pids(self) -> set[int]:
        """Who answered."""
        return {answer["pid"] for answer in self.answers}

    def more(self, pool: Pool, count: int = 20) -> None:
        """Return when so many further requests were tried."""
        goal = len(self.answers) + len(self.failures) + count
        pool.until(lambda: len(self.answers) + len(self.failures) >= goal, f"{count} more answers")


def start_pool(
    launch: Launch,
    folder: Path,
    server: str,
    *words: str,
    workers: int | None = 2,
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Pool:
    """Start `launcher run` in a folder with a `main.py`; with `workers` None it finds its size by itself.

    before: words before the command (`MemoryGroup.inside`).
    """
    port = free_port()
    number = () if workers is None else ("--workers", str(workers))
    told = ("--port", str(port), "--host", "127.0.0.1", *number, "--no-access-log")
    launched = launch("run", "main:app", *SERVERS[server], *told, *words, cwd=folder, env=env or {}, before=before)
    return Pool(launched, port)


def start_bare(
    spawn: Spawner, folder: Path, server: str, *words: str, workers: int = 2, before: Sequence[str] = ()
) -> Pool:
    """Start the server's own command in a folder with a `main.py`; it may leave anything behind. before: as above."""
    port = free_port()
    told = {
        "gunicorn": ("-k", "uvicorn_worker.UvicornWorker", "-b", f"127.0.0.1:{port}", "--pythonpath", str(folder)),
        "uvicorn": ("--port", str(port), "--app-dir", str(folder)),
    }
    argv = [sys.executable, "-m", server, *told[server], "--workers", str(workers), *words, "main:app"]
    return Pool(spawn(argv, cwd=folder, allow_strays=True, before=before), port)


def journal(folder: Path) -> list[str]:
    """Return the words the application noted, in order."""
    path = folder / "journal"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def noted(folder: Path) -> Counter[str]:
    """Return how often the application noted which word."""
    return Counter(journal(folder))


@contextlib.contextmanager
def asking(pool: Pool, path: str = "/") -> Iterator[Asked]:
    """Ask again and again, each time on a connection of its own, while the block runs."""
    asked, over = Asked(), threading.Event()

    def ask() -> None:
        while not over.wait(_PAUSE_S):
            try:
                asked.answers.append(_answer(pool.port, path))
            except (OSError, http.client.HTTPException, ValueError) as error:
                asked.failures.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()


def _answer(port: int, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return dict(json.loads(connection.getresponse().read()))
    finally:
        connection.close()


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a count


def _children(pid: int, which: str = "all") -> list[int]:
    """Return the children of a process by /proc, faster than psutil: some tests look a hundred times a second."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - see above
        with contextlib.suppress(OSError):
            state, parent = _stat(name)
            if parent == pid and (which == "all" or state != "Z"):
                found.append(int(name))
    return sorted(found)


def _stat(name: str) -> tuple[str, int]:
    text = Path(f"/proc/{name}/stat").read_text(encoding="utf-8", errors="replace")
    state, parent = text.rpartition(")")[2].split()[:2]  # the name before may hold anything, parentheses too
    return state, int(parent)


def _is_helper(pid: int) -> bool:
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
        return any(word in command for word in _HELPERS)
    return False
