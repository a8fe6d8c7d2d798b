"""Does the monitor see what happens to the pool, steer it, and live exactly as long as it?"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.launched import http_get
from support.monitored import Answer, Steered, ended, gone, links, other_monitor, ready_steered, start_steered
from support.pool import APP, both_servers, linux_only, noted
from support.probes import answered, failed, refused, start_prober
from support.projects import write_project
from support.side_by_side import side_by_side
from support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.probes import Probe
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

pytestmark = linux_only

BACK_S, GONE_S = 2.0, 3.0  # of the monitor, after a kill -9
HUNG_S = 7  # a blocked worker is silent after 5 s
NEEDED = ("1", "2", "100%")
SECRET = "s3cret-4711"
# What a program of the application's gets when it is started as carelessly as can be.
CHILD = """
import subprocess
from pool_app import app as inner

async def app(scope, receive, send):
    if scope["type"] != "http" or scope["path"] != "/child":
        return await inner(scope, receive, send)
    body = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE).stdout
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


@dataclass(frozen=True, slots=True)
class Blocked:
    """What was seen of pools of two, by what `--ready-workers` asks for."""

    one: dict[str, Answer]  # /readyz?verbose with one of them blocked
    alive: dict[str, Answer]  # /livez at that moment
    both: list[Probe]  # of a pool with both of them blocked, until both were replaced
    startup: Answer  # and its /startupz then


def block(steered: Steered, threads: ThreadPoolExecutor) -> None:
    """Block a worker that is not blocked yet: it alone accepts."""
    before = noted(steered.folder)["block"]
    threads.submit(http_get, steered.pool.port, "/block", 60)
    steered.pool.until(lambda: noted(steered.folder)["block"] > before, "a worker that blocks")


def play(spawn: Spawner, folder: Path, server: str) -> Blocked:
    """Block one worker of three pools and both of a fourth, all at the same time."""
    made = {name: write_project(folder / name, {"main.py": APP}) for name in (*NEEDED, "both")}
    pools = {
        name: start_steered(spawn.launch, made[name], server, "--ready-workers", name, health_port=0) for name in NEEDED
    }
    both = start_steered(spawn.launch, made["both"], server, "--worker-timeout", f"{HUNG_S}s")
    pools["both"] = both
    for steered in pools.values():
        steered.pool.ready(2)
    prober = start_prober(spawn, f"tcp:{both.health_port}", paths=["/livez", "/readyz"], rate=20)
    with ThreadPoolExecutor() as threads:
        for steered in (both, *pools.values()):
            block(steered, threads)
        one = {name: pools[name].says("/readyz?verbose", "1/2 ready") for name in NEEDED}
        alive = {name: pools[name].local("/livez") for name in NEEDED}
        both.pool.ready(4)
        both.says("/readyz?verbose", "2/2 ready")
        seen = Blocked(one, alive, prober.stop(), both.local("/startupz"))
        for steered in pools.values():
            steered.pool.tell(signal.SIGKILL)
    return seen


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Blocked]]:
    """Play it with each server, side by side: most of it is waiting."""
    with side_by_side(tmp_path_factory, play) as all_played:
        yield all_played


@both_servers
def test_one_of_two_is_blocked(played: dict[str, Blocked], server: str) -> None:
    """/readyz says 1/2, and is 200 when one is enough, 503 when two are needed or all; /livez is 200."""
    blocked = played[server]

    assert {"1": 200, "2": 503, "100%": 503} == {name: status for name, (status, _) in blocked.one.items()}
    assert all("1/2 ready" in text and "1 silent" in text for _, text in blocked.one.values()), blocked.one
    assert {(200, "ok\n")} == set(blocked.alive.values())


@both_servers
def test_both_are_blocked(played: dict[str, Blocked], server: str) -> None:
    """/livez is 200 until both have been replaced; /readyz is 503 meanwhile, and not for ever."""
    blocked = played[server]
    ready = [probe.status for probe in answered(blocked.both, "/readyz")]

    assert [] == failed(blocked.both)
    assert {200} == {probe.status for probe in answered(blocked.both, "/livez")}
    assert [200, 503] == [status for status, _ in groupby(ready)][:2]
    assert (200, "ok\n") == blocked.startup


@both_servers
def test_a_killed_monitor(launch: Launch, project: MakeProject, server: str) -> None:
    """After kill -9 another one is back within two seconds, knows the pool, and steers it; no request notices."""
    steered = ready_steered(launch, project({"main.py": APP}), server)
    before = steered.told()
    os.kill(before["monitor"]["pid"], signal.SIGKILL)
    killed_at = time.monotonic()
    after = steered.pool.until(lambda: other_monitor(steered, before), "another monitor")
    took_s = time.monotonic() - killed_at
    assert after is not None
    same = ("pid", "state", "app", "server", "listen", "ready", "wanted", "generation", "version")

    assert took_s < BACK_S
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert [one["pid"] for one in before["workers"]] == [one["pid"] for one in after["workers"]]
    assert {(200, "ok\n")} == {steered.local(path) for path in ("/livez", "/startupz", "/readyz")}
    assert 0 == steered.command("reload").code
    assert 2 == steered.status()["ready"]
    assert 0 == steered.pool.end()


@both_servers
def test_a_killed_arbiter(launch: Launch, project: MakeProject, server: str) -> None:
    """After kill -9 of the arbiter monitor and workers are gone within three seconds, and so is the health."""
    steered = ready_steered(launch, project({"main.py": APP}), server)
    family = [steered.told()["monitor"]["pid"], *steered.pool.workers()]
    steered.pool.tell(signal.SIGKILL)
    steered.run.wait()
    gone(family, GONE_S)
    health = steered.command("health", "live")

    assert 3 == len(family)
    assert 1 == health.code, health
    assert steered.tcp("/livez") is None
    assert [] == list(steered.runtime_dir.iterdir())


@both_servers
def test_commands(launch: Launch, project: MakeProject, server: str) -> None:
    """Each command ends with the outcome: reload, a refused reload, scale, recycle, stop."""
    folder = project({"main.py": APP})
    steered = ready_steered(launch, folder, server)
    first = set(steered.pool.workers())
    reload = steered.command("reload")
    second = set(steered.pool.workers())
    (folder / "main.py").write_text("import no_such_module_4711\n")
    broken = steered.command("reload")
    kept = set(steered.pool.workers())
    (folder / "main.py").write_text(APP + "\n")
    scaled = steered.command("scale", "3")
    status = steered.status()
    third = set(steered.pool.workers())
    victim = min(second)
    recycled = steered.command("recycle", str(victim))
    fourth = set(steered.pool.workers())
    nobody = steered.command("recycle", "1")
    told = steered.command("status", "--json")
    family = [steered.run.pid, json.loads(told.stdout)["monitor"]["pid"], *fourth]
    stopped = steered.command("stop")
    gone(family, 0.5)

    assert (0, "", "") == (reload.code, reload.stdout, reload.stderr)
    assert 2 == len(second)
    assert second.isdisjoint(first)
    assert 0 != broken.code
    assert "no_such_module_4711" in broken.stderr, broken
    assert kept == second
    assert 0 == scaled.code, scaled
    assert (3, 3) == (status["ready"], status["wanted"])
    assert third == {one["pid"] for one in status["workers"]}
    assert 0 == recycled.code, recycled
    assert third - {victim} == third & fourth
    assert 3 == len(fourth)
    assert (2, "1 is no worker that could be replaced\n") == (nobody.code, nobody.stderr)
    assert 0 == stopped.code, stopped
    assert 0 == steered.run.wait(1)
    assert [] == list(steered.runtime_dir.iterdir())


@both_servers
def test_what_is_ours_stays_with_us(launch: Launch, project: MakeProject, server: str) -> None:
    """No program of a worker's gets a descriptor of the monitor; passwords are neither shown nor handed on to it."""
    folder = project({"main.py": CHILD, "pool_app.py": APP})
    url = f"postgresql://app:{SECRET}@db.invalid/app"
    steered = ready_steered(launch, folder, server, env={"DATABASE_URL": url})
    status = steered.told()
    monitor = status["monitor"]["pid"]
    of_monitor = links(monitor)
    of_child = steered.pool.until(lambda: http_get(steered.pool.port, "/child"), "the child") or (0, "")
    memory = [path for path in of_monitor if path.startswith("/memfd:")]
    plans = b"".join(content(monitor, path) for path in memory)
    text = steered.command("status")
    verbose = [steered.local(f"{path}?verbose")[1] for path in ("/livez", "/startupz", "/readyz")]

    assert len([link for link in of_monitor if link.startswith("socket:")]) >= 3  # two listeners and the channel
    assert [] == [link for link in of_monitor if link in of_child[1] and not link.startswith(("/dev", "anon_inode"))]
    assert 200 == of_child[0]
    assert SECRET not in json.dumps(status) + text.stdout + "".join(verbose)
    assert SECRET not in Path(f"/proc/{monitor}/cmdline").read_text(encoding="utf-8")
    assert SECRET.encode() not in plans
    assert SECRET not in steered.run.stderr


def content(pid: int, link: str) -> bytes:
    """Return what is in a memory file of another process."""
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - names of descriptors
        path = Path(f"/proc/{pid}/fd/{name}")
        with contextlib.suppress(OSError):
            if str(path.readlink()) == link:
                return path.read_bytes()
    return b""


def test_one_process(spawn: Spawner, project: MakeProject) -> None:
    """A single uvicorn is probed all its life without a failure, and its readiness goes before its listener."""
    folder, health_port = project({"main.py": APP}), free_port()
    prober = start_prober(spawn, f"tcp:{health_port}", f"unix:{folder / 'run'}")
    options = {"workers": 1, "health_port": health_port}
    steered = start_steered(spawn.launch, folder, "uvicorn", "--drain-delay", "1s", **options)
    steered.pool.until(lambda: steered.tcp("/readyz") == (200, "ok\n"), "readiness")
    stop = steered.begin("stop")
    steered.pool.until(lambda: steered.tcp("/readyz") != (200, "ok\n"), "the end of readiness")
    accepted = http_get(steered.pool.port)
    outcome = ended(stop)
    code = steered.run.wait(1)
    probes = prober.stop()
    (last,) = [one for one in steered.run.events if one["event"] == "Application shutdown complete."]

    assert 0 == outcome.code, outcome
    assert 0 == code
    assert 200 == (accepted or (0, ""))[0]
    assert [] == refused(probes, datetime.fromisoformat(last["timestamp"]).timestamp())
    assert {200} == {probe.status for probe in answered(probes, "/livez")}
    assert [503, 200, 503] == [status for status, _ in groupby(probe.status for probe in answered(probes, "/readyz"))]


def test_a_killed_monitor_of_one_process(launch: Launch, project: MakeProject) -> None:
    """A single uvicorn, which has no supervisor, starts its monitor again as well."""
    steered = start_steered(launch, project({"main.py": APP}), "uvicorn", workers=1)
    steered.pool.asked()
    before = steered.told()
    os.kill(before["monitor"]["pid"], signal.SIGKILL)
    killed_at = time.monotonic()
    after = steered.pool.until(lambda: other_monitor(steered, before), "another monitor")
    took_s = time.monotonic() - killed_at
    assert after is not None

    assert took_s < BACK_S
    assert (before["pid"], 1, 1) == (after["pid"], after["ready"], after["wanted"])
    assert 0 == steered.command("health").code
    assert 2 == steered.command("reload").code
    assert 0 == steered.command("stop").code
    assert 0 == steered.run.wait(1)
