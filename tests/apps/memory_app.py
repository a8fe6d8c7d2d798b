"""An application whose import takes memory of a known kind; which kind and how many MB the environment says.

Each answer says who gave it. `/wait` keeps its worker busy, so that others take the next connections; `/gc` collects
garbage; `/touch` reads all that the import left.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

KIND, HELD_BYTES = os.environ["MEMORY_APP"], int(os.environ["MEMORY_APP_MB"]) * 10**6
ROW_BYTES = 323  # a row, what only it refers to, and its place in the list
BUSY_S = 0.15


def held() -> Any:
    if KIND == "numpy":
        import numpy as np

        return np.ones(HELD_BYTES // 8)
    if KIND == "objects":
        return [{"number": float(number), "name": f"row {number}"} for number in range(HELD_BYTES // ROW_BYTES)]
    return None


HELD = held()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.own = bytearray(os.urandom(10**6))
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def root() -> dict[str, int]:
    return {"pid": os.getpid()}


@app.get("/wait")
async def wait() -> dict[str, int]:
    time.sleep(BUSY_S)  # noqa: ASYNC251 - the worker is to be busy
    return {"pid": os.getpid()}


@app.get("/gc")
async def collect() -> dict[str, int]:
    return {"pid": os.getpid(), "found": gc.collect()}


@app.get("/touch")
async def touch() -> dict[str, float]:
    if KIND == "objects":
        return {"pid": os.getpid(), "sum": sum(row["number"] for row in HELD)}
    return {"pid": os.getpid(), "sum": float(HELD.sum()) if KIND == "numpy" else 0.0}
