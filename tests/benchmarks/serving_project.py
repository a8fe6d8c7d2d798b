"""What is served, by whom, and what does it cost to be asked?"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench_start import DEADLINE_S, POLL_S, free_port, kill_group
from benchmarks.project import REPOSITORY, environment, write
from benchmarks.serving_costs import Tree, busy_s, clients_s
from benchmarks.serving_load import Load, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.serving_costs import Memory

WORKERS = 2
WARM_UP_S = 1
# A neighbour in the caches is worth ten percent. Below this share of a CPU is what our own looking around takes.
STILL = 0.1
TRIES = 3
EXAMPLE = REPOSITORY / "examples" / "fastapi-alembic"
# What uvicorn's server writes in each worker, whoever runs it, when its application has started.
STARTED = b"Application startup complete"

HELLO = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})
"""


@dataclass(frozen=True, slots=True)
class Cpus:
    """Where the server runs and where its client does; None: wherever the kernel likes."""

    server: int | None
    client: int | None


@dataclass(frozen=True, slots=True)
class Slice:
    """What a server has cost while it was asked. `others`: the share of one CPU that somebody else took meanwhile."""

    cpu_s: float
    load: Load
    others: float


class Serving:
    """A server that is up, with all its workers."""

    def __init__(self, root: int, url: str, cpus: Cpus) -> None:
        """Look at the processes that `root` has started. RuntimeError when they are not what is expected."""
        self.url, self.cpus = url, cpus
        self._root = root
        self._tree = Tree.of(root, WORKERS)

    def warm_up(self) -> None:
        """Let it answer its first requests, which nobody counts."""
        load(self.url, WARM_UP_S, self.cpus.client)

    def measure(self, duration_s: int) -> Slice:
        """Ask it so long; if others take part, again, and keep the stillest. RuntimeError when a request fails."""
        slices = [self._measure(duration_s)]
        while slices[-1].others > STILL and len(slices) < TRIES:
            slices.append(self._measure(duration_s))
        return min(slices, key=lambda each: each.others)

    def _measure(self, duration_s: int) -> Slice:
        busy, clients, began, before = busy_s(), clients_s(), time.monotonic(), self._tree.cpu_s()
        seen = load(self.url, duration_s, self.cpus.client)
        if Tree.of(self._root, WORKERS) != self._tree:
            raise RuntimeError("not the processes that there were before")
        cpu_s, took_s = self._tree.cpu_s() - before, time.monotonic() - began
        others_s = busy_s() - busy - cpu_s - (clients_s() - clients)
        return Slice(cpu_s, seen, max(0.0, others_s / took_s))

    def memory(self) -> Memory:
        """Return what it occupies now."""
        return self._tree.memory()


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with both applications."""

    folder: Path
    cpus: Cpus

    @contextlib.contextmanager
    def serving(self, argv: Sequence[str], path: str) -> Iterator[Serving]:
        """Start a server and wait for all its workers. `argv`: with PORT for the port; `path`: what will be asked."""
        port = free_port()
        pinned = [] if self.cpus.server is None else ["taskset", "-c", str(self.cpus.server)]
        words = [*pinned, *(word.replace("PORT", str(port)) for word in argv)]
        with tempfile.TemporaryFile(dir=self.folder) as output:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                wait_started(process, Path(f"/proc/self/fd/{output.fileno()}"))
                yield Serving(process.pid, f"http://127.0.0.1:{port}{path}", self.cpus)
            finally:
                kill_group(process)


def wait_started(process: subprocess.Popen[bytes], output: Path) -> None:
    """Wait until each worker has said that it has started. RuntimeError when that does not come."""
    deadline = time.monotonic() + DEADLINE_S
    while output.read_bytes().count(STARTED) < WORKERS:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not start:\n{output.read_text(errors='replace')}")
        time.sleep(POLL_S)


@contextlib.contextmanager
def temporary_project(cpus: Cpus) -> Iterator[Project]:
    """Write the applications; remove them in the end. The example's is a copy, without its configuration file."""
    with tempfile.TemporaryDirectory(prefix="launcher-bench-") as temporary:
        folder = Path(temporary)
        shutil.copytree(EXAMPLE / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
        write(folder / "hello.py", HELLO)
        yield Project(folder, cpus)
