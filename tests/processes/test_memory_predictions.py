"""Is what the pool foretells from its first worker what many of them take, in a real memory group?

MEMORY_APP_MB says how much the large applications hold; with it there are six workers of all of them, with each server
and each way to start (200: what is promised). MEMORY_REQUESTS says how many requests each worker gets.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.budget import MONITOR_BYTES
from support.pool import linux_only, start_pool
from support.waiting import until

if TYPE_CHECKING:
    from support.memory_group import MemoryGroup
    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = [linux_only, pytest.mark.timeout(180)]

FULL = "MEMORY_APP_MB" in os.environ
WORKERS = 6 if FULL else 4
HELD_MB = int(os.environ.get("MEMORY_APP_MB", "40"))
REQUESTS = int(os.environ.get("MEMORY_REQUESTS", "200" if FULL else "60"))
APP = (Path(__file__).parents[1] / "apps" / "memory_app.py").read_text(encoding="utf-8")
LIMIT_BYTES = 3 * 1024**3
PATIENCE_S = 60.0
TAKEN_S = 0.01
QUIET_S, QUIET_BYTES = 0.3, 200_000
NOT_PRELOADED = [(kind, server) for kind in ("small", "numpy", "objects") for server in ("gunicorn", "uvicorn")]
PRELOADED = ["small", "numpy", "objects"]


def application(launch: Launch, project: MakeProject, server: str, kind: str) -> Path:
    """Write the application, and have what it imports compiled: who does that is larger than who finds it done."""
    folder = project({"main.py": APP, "kind": kind})
    pool = start_pool(launch, folder, server, workers=1, env={"MEMORY_APP": kind, "MEMORY_APP_MB": "1"})
    pool.asked()
    assert pool.end() == 0
    return folder


def begin(group: MemoryGroup, launch: Launch, folder: Path, server: str, *words: str) -> Pool:
    """Start a pool in the group that measures one worker and becomes one of many."""
    group.limit(LIMIT_BYTES)
    env = {"WORKERS_PER_CORE": "100", "MEMORY_APP": (folder / "kind").read_text(), "MEMORY_APP_MB": str(HELD_MB)}
    told = ("--max-workers", str(WORKERS), *words)
    return start_pool(launch, folder, server, *told, workers=None, env=env, before=group.inside)


def foretold(pool: Pool, *, provisional: bool) -> int:
    """Return what all workers take by the sum of the last measurement of one, in bytes."""
    seen = pool.seen("worker_measured", timeout_s=PATIENCE_S, workers=1, provisional=provisional)[-1]
    beside = seen["shared_bytes"] + seen["shmem_bytes"] + max(seen["monitor_bytes"], MONITOR_BYTES)
    return int(beside + WORKERS * seen["worker_bytes"])


def taken(group: MemoryGroup) -> int:
    """Return what the group cannot give back, as soon as that does not change any more, in bytes."""

    def at_rest() -> int | None:
        before = group.needed_bytes
        time.sleep(QUIET_S)  # the wait is what is looked at: nothing happens in it
        return before if abs(group.needed_bytes - before) < QUIET_BYTES else None

    return until(at_rest, "the group at rest", PATIENCE_S) or 0


def ask_all(pool: Pool, workers: int, *paths: str) -> None:
    """Let each worker answer these, one after the other."""
    with ExitStack() as stack:
        lines: dict[int, http.client.HTTPConnection] = {}

        def all_are_there() -> bool:
            new = [http.client.HTTPConnection("127.0.0.1", pool.port, timeout=PATIENCE_S) for _ in range(workers)]
            for line in new:
                stack.callback(line.close)
                line.request("GET", "/wait")
                time.sleep(TAKEN_S)  # whoever takes it is busy with it when the next one comes
            lines.update({answer(line)["pid"]: line for line in new})
            return len(lines) == workers

        until(all_are_there, f"a connection to each of {workers} workers", PATIENCE_S)
        for path in paths:
            for line in lines.values():
                line.request("GET", path)
                answer(line)


def answer(line: http.client.HTTPConnection) -> dict[str, Any]:
    """Return what comes."""
    response = line.getresponse()
    body = response.read()
    assert response.status == 200, body
    return dict(json.loads(body))


def resize(pool: Pool, before: int, after: int) -> None:
    """Have another number of workers, one by one."""
    step = 1 if after > before else -1
    for wanted in range(before + step, after + step, step):
        count = len(pool.named("pool_resized"))
        pool.tell(signal.SIGTTIN if step > 0 else signal.SIGTTOU)
        assert wanted == pool.seen("pool_resized", count + 1)[-1]["wanted"]
    pool.until(lambda: len(members(pool)) == after, f"{after} workers", PATIENCE_S)


def members(pool: Pool) -> set[int]:
    """Return the pids of the workers that are ready and live; the template of preloaded ones is none."""
    return {event["pid"] for event in pool.named("worker_ready")} & set(pool.workers())


def deviations(group: MemoryGroup, pool: Pool) -> dict[str, float]:
    """Return by how much what was foretold is more than what all take: when nobody asks, and after traffic.

    The second is foretold by one worker that has had traffic, and then all have it.
    """
    off = {}
    pool.seen("worker_measured", timeout_s=PATIENCE_S, workers=WORKERS)
    off["idle"] = foretold(pool, provisional=True) / taken(group) - 1
    resize(pool, WORKERS, 1)
    ask_all(pool, 1, *REQUESTS * ["/"], "/gc")
    expected = foretold(pool, provisional=False)
    resize(pool, 1, WORKERS)
    ask_all(pool, WORKERS, *REQUESTS * ["/"], "/gc")
    off["traffic"] = expected / taken(group) - 1
    ask_all(pool, WORKERS, "/touch")
    off["touch"] = expected / taken(group) - 1
    print({phase: f"{100 * one:+.2f} %" for phase, one in off.items()})  # noqa: T201 - pytest shows it when the test fails
    return off


@pytest.mark.parametrize(("kind", "server"), NOT_PRELOADED if FULL else [("numpy", "uvicorn")])
def test_all_take_what_the_first_foretold(
    kind: str, server: str, group: MemoryGroup, launch: Launch, project: MakeProject
) -> None:
    """To 3 %, before traffic and after it, and whatever they read of what they hold."""
    off = deviations(group, begin(group, launch, application(launch, project, server, kind), server))

    assert {phase: pytest.approx(0, abs=0.03) for phase in ("idle", "traffic", "touch")} == off


@pytest.mark.parametrize("kind", PRELOADED if FULL else ["numpy", "objects"])
def test_all_preloaded_take_what_the_first_foretold(
    kind: str, group: MemoryGroup, launch: Launch, project: MakeProject
) -> None:
    """To 5 %; an array stays shared when it is read, of Python objects each reader gets a copy."""
    off = deviations(
        group, begin(group, launch, application(launch, project, "gunicorn", kind), "gunicorn", "--preload")
    )
    after = off.pop("touch")

    assert {phase: pytest.approx(0, abs=0.05) for phase in ("idle", "traffic")} == off
    if kind == "objects":
        assert after < -0.25
    else:
        assert after == pytest.approx(0, abs=0.05)
