"""Does the pool do its work where something around it fails?"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from support.launched import http_get
from support.pool import APP, SERVERS, Pool, both_servers, linux_only, noted, start_pool
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

OWN_FAULTHANDLER = "import faulthandler\nfaulthandler.enable()\n"
WITH_STDERR = "import os, sys; fd, *run = sys.argv[1:]; os.dup2(int(fd), 2); os.close(int(fd)); os.execv(run[0], run)"
FULL = 60  # requests whose lines are more than a page


class Reader:
    """Somebody who reads a server's stderr, until told to stop, and again."""

    def __init__(self) -> None:
        self.fd, self.theirs = os.pipe()
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.fd, False)  # the read end has a description of its own
        self.text = b""

    def read(self) -> list[dict[str, Any]]:
        """Read what is there; return all whole lines that were JSON."""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self.fd, 1 << 16):
                self.text += more
        records = []
        for line in self.text.splitlines():
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
        return records

    def count(self, event: str) -> int:
        """Return how many of these events have been read."""
        return sum(record["event"] == event for record in self.read())


@contextlib.contextmanager
def read_by_us(spawn: Spawner, folder: Path, server: str) -> Iterator[tuple[Pool, Reader]]:
    """Start a pool of two whose stderr is a small pipe; both are ready, and from now on nobody reads."""
    reader, port = Reader(), free_port()
    told = ("--port", str(port), "--host", "127.0.0.1", "--workers", "2", "--log-format", "json")
    run = [sys.executable, "-m", "launcher", "run", "main:app", *SERVERS[server], *told, "--graceful-timeout", "5s"]
    argv = [sys.executable, "-c", WITH_STDERR, str(reader.theirs), *run]
    launched = spawn(argv, cwd=folder, pass_fds=(reader.theirs,))
    os.close(reader.theirs)
    until(lambda: reader.count("launcher.worker_ready") == 2, "two workers", 20)
    yield Pool(launched, port), reader
    os.close(reader.fd)


@linux_only
@both_servers
def test_nobody_reads_stderr(spawn: Spawner, project: MakeProject, server: str) -> None:
    """Every request is answered, TERM is obeyed with exit code 0."""
    with read_by_us(spawn, project({"main.py": APP}), server) as (pool, _):
        answers = [http_get(pool.port, f"/{number}") for number in range(FULL)]
        for signum in (signal.SIGHUP, signal.SIGUSR1):
            pool.tell(signum)
        began = time.monotonic()

        assert 0 == pool.end()
        assert time.monotonic() - began < 10
        assert [200] * FULL == [answer and answer[0] for answer in answers]


@linux_only
@both_servers
def test_lines_that_were_lost_are_counted(spawn: Spawner, project: MakeProject, server: str) -> None:
    """Once stderr is read again, a line says how many are missing."""
    with read_by_us(spawn, project({"main.py": APP}), server) as (pool, reader):
        for number in range(FULL):
            http_get(pool.port, f"/{number}")
        reader.read()
        until(lambda: http_get(pool.port) and reader.count("launcher.log_lines_dropped"), "the number", 20)
        lost = sum(record["lines"] for record in reader.read() if record["event"] == "launcher.log_lines_dropped")

        assert 0 < lost < FULL
        assert 0 == pool.end()


@both_servers
def test_a_grace_of_nothing(launch: Launch, project: MakeProject, server: str) -> None:
    """With --graceful-timeout 0 TERM ends a hung handler, too."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--graceful-timeout", "0s")
    pool.ready(2)
    hang(pool, folder, "block")

    assert 0 == pool.end()
    assert "in blocks_the_loop" in pool.launched.stderr


@both_servers
def test_term_twice_cuts_nobody(launch: Launch, project: MakeProject, server: str) -> None:
    """A wrapper that forwards what the group has got already: what is in flight is answered."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--graceful-timeout", "10s")
    pool.ready(2)
    answers: list[tuple[int, str] | None] = []
    thread = threading.Thread(target=lambda: answers.append(http_get(pool.port, "/slow?s=1.5", 20)))
    thread.start()
    pool.until(lambda: noted(folder)["slow"] == 1, "the request")
    pool.tell(signal.SIGTERM)
    pool.seen("pool_stopping")
    for _ in range(2):
        pool.tell(signal.SIGTERM)
    thread.join(20)

    assert 0 == pool.launched.wait()
    assert [200] == [answer and answer[0] for answer in answers]


@both_servers
def test_an_application_with_its_own_faulthandler(launch: Launch, project: MakeProject, server: str) -> None:
    """The stack of a crash is in the line about it all the same."""
    pool = start_pool(launch, project({"main.py": OWN_FAULTHANDLER + APP.replace("from __future__", "# from")}), server)
    pool.ready(2)
    http_get(pool.port, "/segfault")
    (died,) = pool.seen("worker_died")

    assert "in dies" in died.get("stack", ""), died
    assert 0 == pool.end()


def hang(pool: Pool, folder: Path, word: str) -> None:
    """Let a worker hang; return when it does."""
    threading.Thread(target=http_get, args=(pool.port, f"/{word}"), kwargs={"timeout_s": 20}, daemon=True).start()
    pool.until(lambda: noted(folder)[word] == 1, word)
