"""Is a kill by the kernel for memory told from one by anybody else, in a real group with a limit?

Where no memory group can be made the tests skip.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from launcher.limits.cgroups import read_groups
from launcher.limits.tree import Tree
from support.launched import http_get
from support.namespaces import needs_namespaces
from support.pool import SERVERS, Pool, both_servers
from support.waiting import free_port

if TYPE_CHECKING:
    from support.memory_group import MemoryGroup
    from support.projects import MakeProject
    from support.spawning import Spawner

MIB = 1024**2
LIMIT_BYTES = 600 * MIB
EATS = "x = []\nwhile True: x.append(b'x' * (8 << 20))"
APP = f"""
import subprocess, sys

EATS = {EATS!r}


async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] == "/eat":
            exec(EATS)
        if scope["path"] == "/child":
            subprocess.run([sys.executable, "-c", EATS])
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": b"{{}}"}})
"""
WITHOUT_GROUPS = 'umount -l "$1" && shift && exec "$@"'


def start(spawn: Spawner, folder: Path, server: str, *before: str) -> Pool:
    """Start a server of four workers behind `before`, a shell's words."""
    port = free_port()
    told = ("--port", str(port), "--host", "127.0.0.1", "--workers", "4", "--restart-intensity", "99")
    places = ("--crash-dir", str(folder / "crashes"), "--runtime-dir", str(folder / "run"))
    run = [sys.executable, "-m", "launcher", "run", "main:app", *SERVERS[server], *told, *places]
    pool = Pool(spawn([*before, *run], cwd=folder), port)
    pool.ready(4)
    return pool


def reported(folder: Path, pool: Pool, count: int) -> list[dict[str, Any]]:
    """Return the reports, the oldest first, as soon as there are so many."""

    def found() -> list[Path]:
        paths = sorted((folder / "crashes").glob("2*.json"))
        return paths if len(paths) >= count else []

    return [json.loads(path.read_text()) for path in pool.until(found, f"{count} reports") or []]


def ask(pool: Pool, path: str) -> None:
    """Send a request that nobody will answer."""
    threading.Thread(target=http_get, args=(pool.port, path), kwargs={"timeout_s": 20}, daemon=True).start()


def dead(pool: Pool) -> list[int]:
    """Return the workers that have ended and are not reaped yet."""
    children = psutil.Process(pool.pid).children()
    return [child.pid for child in children if child.status() == psutil.STATUS_ZOMBIE]


def kill_two_at_once(pool: Pool) -> set[int]:
    """Have one worker killed for memory and kill another, while nobody looks; return both."""
    os.kill(pool.pid, signal.SIGSTOP)
    ask(pool, "/eat")
    (eaten,) = pool.until(lambda: dead(pool), "the kernel's choice") or []
    other = next(pid for pid in pool.workers() if pid != eaten)
    pool.kill(other)
    pool.until(lambda: len(dead(pool)) == 2, "both ends")
    os.kill(pool.pid, signal.SIGCONT)
    return {eaten, other}


@both_servers
def test_whose_kill_it_was(group: MemoryGroup, spawn: Spawner, project: MakeProject, server: str) -> None:
    """Killed, for memory, one of both in one moment, a child of a worker: each as it was, by the kernel's counter."""
    group.limit(LIMIT_BYTES)
    folder = project({"main.py": APP})
    pool = start(spawn, folder, server, *group.inside)
    victim = pool.workers()[0]
    pool.kill(victim)
    (killed,) = reported(folder, pool, 1)
    ask(pool, "/eat")
    _, eaten = reported(folder, pool, 2)
    both = kill_two_at_once(pool)
    two = reported(folder, pool, 4)[2:]
    ask(pool, "/child")
    stranger = reported(folder, pool, 5)[4]
    counted = group.oom_kills
    code = pool.end()

    assert (victim, "killed", "certain", [0, 0]) == facts(killed)
    assert "memory" not in killed["title"] + str(killed["evidence"])
    assert (eaten["pid"], "oom", "certain", [0, 1]) == facts(eaten)
    assert ["/eat"] == [request["path"] for request in eaten["in_flight"]]
    assert both == {report["pid"] for report in two}
    assert {("oom", "probable", (1, 2))} == {(*facts(report)[1:3], tuple(facts(report)[3])) for report in two}
    assert all("1 of these 2 deaths" in str(report["evidence"]) for report in two)
    assert ("oom-kill", None, [2, 3]) == (stranger["kind"], stranger["pid"], facts(stranger)[3])
    assert counted == 3
    assert 0 == code
    assert 5 == len(list((folder / "crashes").glob("2*.json")))


def facts(report: dict[str, Any]) -> tuple[Any, ...]:
    """Return who, what, how sure, and the kernel's counter before and after."""
    return (report["pid"], report["verdict"], report["confidence"], report["memory"]["counters"]["oom_kill"])


@needs_namespaces
def test_a_counter_that_nobody_can_read(spawn: Spawner, project: MakeProject) -> None:
    """With the group's files out of sight a killed worker's verdict is unknown."""
    groups = read_groups(Tree(Path("/")))
    if not groups.v1("memory"):
        pytest.skip("no v1 memory group is here")
    top = next(mount.point for mount in groups.mounts if "memory" in mount.controllers)
    folder = project({"main.py": APP})
    pool = start(spawn, folder, "uvicorn", "unshare", "-m", "sh", "-c", WITHOUT_GROUPS, "sh", top)
    victim = pool.workers()[0]
    pool.kill(victim)
    (report,) = reported(folder, pool, 1)

    assert (victim, "unknown", "guess", None) == facts(report)
    assert "cannot be read" in report["evidence"][0]
    assert 0 == pool.end()
