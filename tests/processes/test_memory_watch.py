"""Is a worker that leaks replaced before anybody notices?"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.monitored import ready_steered
from support.pool import PATIENCE_S, Pool, both_servers, linux_only

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.projects import MakeProject
    from support.spawning import Launch

MIB = 1 << 20
LIMIT = 120 * MIB
_PAUSE_S = 0.1  # of each of two clients: 100 MB/s in all

LEAKING = """
import json
import os

KEPT = []


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/leak":
        KEPT.append(b"x" * (5 << 20))
    body = json.dumps({"pid": os.getpid()}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@dataclass(slots=True)
class Clients:
    """What two clients got: one that keeps its connection, and one that takes a new one each time."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)


@contextlib.contextmanager
def clients(pool: Pool) -> Iterator[Clients]:
    """Ask again and again while the block runs."""
    got, over = Clients(), threading.Event()

    def ask(*, keeps: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", pool.port, timeout=PATIENCE_S)
        while not over.wait(_PAUSE_S):
            try:
                connection.request("GET", "/leak")
                answer = connection.getresponse()
                answer.read()
                got.answers += answer.status == 200
                got.failures += [] if answer.status == 200 else [str(answer.status)]
            except (OSError, http.client.HTTPException) as error:
                got.failures.append(f"{'kept' if keeps else 'new'}: {error!r}")
                connection.close()
            if not keeps:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=ask, kwargs={"keeps": keeps}) for keeps in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        over.set()
        for thread in threads:
            thread.join()


@linux_only
@both_servers
def test_a_leak(launch: Launch, project: MakeProject, server: str) -> None:
    """Workers that leak 100 MB/s are replaced one after the other: no request fails, and nothing looks like a crash."""
    folder = project({"main.py": LEAKING})
    words = ("--worker-memory-limit", "120MiB", "--crash-dir", str(folder / "crashes"))
    steered = ready_steered(launch, folder, server, *words)
    pool = steered.pool
    first = pool.ready(2)
    with clients(pool) as got:
        pool.seen("worker_recycled", 2, because="memory")
        after = got.answers
        pool.until(lambda: got.answers > after, "an answer of who has come")
    oversized = pool.named("worker_oversized")
    status = steered.status()
    memory = status["memory"]
    reports = json.loads(steered.local("/crashes")[1])["crashes"]

    assert [] == got.failures
    assert first == {event["pid"] for event in pool.named("worker_stopped", because="memory")}
    assert first == {event["pid"] for event in oversized}
    assert {LIMIT} == {event["limit_bytes"] for event in oversized}
    assert all(LIMIT < event["private_bytes"] < 10 * LIMIT for event in oversized)
    assert [] == pool.named("worker_died")
    assert [] == reports
    assert (0, LIMIT, 2) == (status["restarts"], memory["worker_limit_bytes"], memory["recycled"])
    assert pool.end() == 0
