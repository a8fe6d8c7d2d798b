"""What does an application do that leaks, reads large files, or touches what was loaded before the fork?"""

from __future__ import annotations

import contextlib
import http.client
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.pool import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.pool import Pool

# /leak keeps 5 MiB; /load keeps 200 MiB of which 100 come each second; /read reads the file `large` to its end; /touch
# looks at every object of `LOADED`, of which there are as many as the file `objects` says.
LEAKING = """
import asyncio
import json
import os
import pathlib

FOLDER = pathlib.Path(__file__).parent
KEPT = []
OBJECTS = FOLDER / "objects"
LOADED = [{"number": number} for number in range(int(OBJECTS.read_text()) if OBJECTS.exists() else 0)]


def read():
    with open(FOLDER / "large", "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/leak":
        KEPT.append(b"x" * (5 << 20))
    if scope["path"] == "/load" and not KEPT:
        for _ in range(40):
            KEPT.append(b"x" * (5 << 20))
            await asyncio.sleep(0.05)
    if scope["path"] == "/read":
        read()
    if scope["path"] == "/touch":
        for one in LOADED:
            one["number"]
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
def clients(pool: Pool, path: str = "/leak", pause_s: float = 0.1) -> Iterator[Clients]:
    """Ask again and again while the block runs, each of two with this pause."""
    got, over = Clients(), threading.Event()

    def ask(*, keeps: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", pool.port, timeout=PATIENCE_S)
        while not over.wait(pause_s):
            try:
                connection.request("GET", path)
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
