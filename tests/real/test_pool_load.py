"""Does anybody who asks notice a reload, and how are long connections ended?

POOL_RELOADS sets how often each pool is reloaded.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support.launched import http_get
from support.load import errors, watching, wrk
from support.pool import APP, PATIENCE_S, asking, each_pool, noted, start_pool

if TYPE_CHECKING:
    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

RELOADS = int(os.environ.get("POOL_RELOADS", "3"))
DELAY_S = 2.0
SLOW_S = 5.0
# Connections that are kept and busy, kept and idle now and then (for less than a worker lingers), and new ones.
LINKS: dict[str, tuple[int, tuple[str, ...]]] = {
    "keep-alive": (8, ()),
    "idle": (1500, ()),
    "close": (8, ("Connection: close",)),
}
# In CI nothing is skipped in silence: there `wrk` is among the packages that are installed.
needs_wrk = pytest.mark.skipif(not shutil.which("wrk") and os.environ.get("CI") != "true", reason="needs wrk")


@needs_wrk
@pytest.mark.timeout(60 + 20 * RELOADS)
@each_pool
def test_reloads_under_load(launch: Launch, spawn: Spawner, project: MakeProject, server: str) -> None:
    """No request fails, on connections that are kept and on new ones, and there is never more than one worker more."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server)
    first = pool.ready(2)
    loads = [wrk(spawn, folder, pool.port, *headers, pause_ms=pause) for pause, headers in LINKS.values()]
    with watching(pool) as seen:
        for number in range(1, RELOADS + 1):
            pool.tell(signal.SIGHUP)
            pool.seen("pool_reloaded", number, 60)
    counted = dict(zip(LINKS, [load.end() for load in loads], strict=True))

    assert {name: {} for name in LINKS} == {name: errors(counts) for name, counts in counted.items()}
    assert all(counts["requests"] > 2 * RELOADS for counts in counted.values())
    assert seen.most <= 3, seen
    assert seen.looks > 10 * RELOADS
    assert 2 * (RELOADS + 1) == noted(folder)["startup"]
    assert first.isdisjoint(pool.workers())
    assert [] == pool.named("worker_died")
    assert pool.end() == 0


def websocket(pool: Pool) -> tuple[int | None, str]:
    """Hold a WebSocket until it is closed; return the code, and what came back before."""
    with connect(f"ws://127.0.0.1:{pool.port}/ws") as client:
        client.send("hello")
        answer = str(client.recv())
        try:
            client.recv(timeout=60)
        except ConnectionClosed as closed:
            return (closed.rcvd.code if closed.rcvd else None), answer
    return None, answer


def sse(pool: Pool) -> tuple[str, bool]:
    """Hold an event stream until it ends; return what came, and whether it was whole."""
    connection = http.client.HTTPConnection("127.0.0.1", pool.port, timeout=60)
    connection.request("GET", "/sse", headers={"Accept": "text/event-stream"})
    try:
        return connection.getresponse().read().decode(), True
    except http.client.IncompleteRead as cut:
        return cut.partial.decode(), False
    finally:
        connection.close()


@each_pool
def test_stop_under_load(launch: Launch, project: MakeProject, server: str) -> None:
    """Nobody is refused during the delay; a slow request is answered, WebSocket and event stream end properly; 0."""
    folder = project({"main.py": APP})
    pool = start_pool(launch, folder, server, "--drain-delay", f"{DELAY_S:g}s", "--graceful-timeout", "15s")
    pool.ready(2)
    with ThreadPoolExecutor(3) as threads:
        socket = threads.submit(websocket, pool)
        stream = threads.submit(sse, pool)
        slow = threads.submit(http_get, pool.port, f"/slow?s={SLOW_S}", 60)
        pool.until(lambda: {"websocket", "sse", "slow"} <= noted(folder).keys(), "all three")
        with asking(pool) as asked:
            pool.tell(signal.SIGTERM)
            told = time.monotonic()
            pool.until(lambda: time.monotonic() > told + DELAY_S - 0.2, "the delay")
        code, text = socket.result(PATIENCE_S), stream.result(PATIENCE_S)
        status, _ = slow.result(PATIENCE_S) or (0, "")

    assert [] == asked.failures
    assert len(asked.answers) > 20
    assert (1012, "hello") == code
    assert ("data: tick\n\n", True) == (text[0][:12], text[1])
    assert 200 == status
    assert 0 == pool.launched.wait(), pool.launched
    assert 2 == noted(folder)["shutdown"]
    assert [] == pool.named("worker_died")
