"""What can happen to a worker? One path for each thing; files beside this one, named in `flagged`, spoil its start.

`journal` beside it gets one line `WORD PID` for whatever a test has to know.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

VERSION = 1
FOLDER = Path(__file__).parent
LONG_S = 60
BEAT_S = 0.1

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def flagged(name: str) -> bool:
    return (FOLDER / name).exists()


def note(word: str) -> None:
    file = os.open(FOLDER / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(file, f"{word} {os.getpid()}\n".encode())
    os.close(file)


def hangs_in_import() -> None:
    time.sleep(LONG_S)


async def hangs_in_lifespan() -> None:
    await asyncio.sleep(LONG_S)


async def blocks_the_loop() -> None:
    time.sleep(LONG_S)  # noqa: ASYNC251 - the mistake that is played


async def holds_the_gil() -> None:
    ctypes.PyDLL(None).sleep(LONG_S)


async def waits_for_a_lock() -> None:
    lock = threading.Lock()
    taken = threading.Event()

    def never_gives_it_back() -> None:
        with lock:
            taken.set()
            threading.Event().wait(LONG_S)

    threading.Thread(target=never_gives_it_back, daemon=True).start()
    taken.wait()
    with lock:
        pass


async def leaves_an_orphan() -> None:
    subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)  # noqa: ASYNC221 - it returns at once


async def dies() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


HANDLERS: dict[str, Callable[[], Awaitable[None]]] = {
    "/block": blocks_the_loop,
    "/gil": holds_the_gil,
    "/deadlock": waits_for_a_lock,
    "/orphan": leaves_an_orphan,
    "/segfault": dies,
}


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    if flagged("away"):
        await send({"type": "lifespan.startup.failed", "message": "the dependency is away"})
        return
    if flagged("hang-lifespan"):
        note("hangs")
        await hangs_in_lifespan()
    note("startup")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    note("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    note("websocket")
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message.get("text") or ""})


async def events(receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await receive()  # the request
    gone = asyncio.ensure_future(receive())
    note("sse")
    while not gone.done():
        await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
        await asyncio.wait([gone], timeout=BEAT_S)


async def http(scope: Scope, send: Send) -> None:
    path = scope["path"]
    query = parse_qs(scope["query_string"].decode())
    if path != "/":
        note(path.strip("/"))
    if path in HANDLERS:
        await HANDLERS[path]()
    if path == "/slow":
        await asyncio.sleep(float(query["s"][0]))
    body = json.dumps({"pid": os.getpid(), "ppid": os.getppid(), "version": VERSION}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["path"] == "/sse":
        await events(receive, send)
    else:
        await http(scope, send)


note("import")
if flagged("hang-import"):
    note("hangs")
    hangs_in_import()
