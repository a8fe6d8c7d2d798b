"""What does an application look like whose worker a test watches?"""

from __future__ import annotations

APP = """
import asyncio, os, time

async def app(scope, receive, send):
    await {"lifespan": lifespan, "websocket": websocket, "http": http}[scope["type"]](scope, receive, send)

async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        print(message["type"], flush=True)
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return

async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        pass
    print("websocket", message["code"], flush=True)
    if scope["path"] == "/stubborn":
        await asyncio.sleep(600)

async def http(scope, receive, send):
    async def start(*headers):
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})

    async def body(content=b"", more_body=False):
        await send({"type": "http.response.body", "body": content, "more_body": more_body})

    seconds = float(scope["query_string"] or 0)
    if scope["path"] != "/":
        print("began", scope["path"], flush=True)
    if scope["path"] == "/events":
        await start((b"content-type", b"text/event-stream"))
        await body(b"data: first\\n\\n", more_body=True)
        if scope["method"] == "POST":
            await asyncio.sleep(seconds)
            return await body(b"data: last\\n\\n")
        while (await receive())["type"] != "http.disconnect":
            pass
        print("events: gone", flush=True)
        await body(b"data: nobody hears\\n\\n", more_body=True)
    elif scope["path"] == "/drip":
        await start((b"content-type", b"text/plain"))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await body(b"x", more_body=True)
            await asyncio.sleep(0.05)
        await body(b"end")
    elif scope["path"] == "/block":
        await start((b"content-length", b"2"))
        time.sleep(seconds)
        await body(b"ok")
    else:
        await waiting_outside(seconds)
        await start((b"content-length", b"2"))
        await body(b"ok")

async def waiting_outside(seconds):
    await waiting_inside(seconds)

async def waiting_inside(seconds):
    await asyncio.sleep(seconds)
"""
