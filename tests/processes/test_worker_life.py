"""Does a worker keep what it owes its pool, whichever server it is?"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import until
from support.worker_app import APP
from support.workers import KINDS, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.projects import MakeProject
    from support.spawning import Spawner

    Start = Callable[..., Workers]

each_kind = pytest.mark.parametrize("kind", KINDS)
linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl, /proc")
GROUP = 65534 if os.geteuid() == 0 else os.getegid()  # nobody's; only root may become another's
SLOW_IMPORT = "import time\nprint('importing', flush=True)\ntime.sleep(600)"
SLOW_LIFESPAN = """
import asyncio

async def app(scope, receive, send):
    await receive()
    print("starting", flush=True)
    await asyncio.sleep(600)
"""
# What is in the evidence of an application that cannot boot.
BROKEN = {
    "raises": ("raise RuntimeError('on purpose')", "RuntimeError: on purpose"),
    "leaves": ("import sys\nsys.exit(7)", "sys.exit(7)"),
    "leaves-as-asked": ("import sys\nsys.exit(0)", "sys.exit(0)"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "missing": ("import no_such_module", "no_such_module"),
    "no-attribute": ("application = None", "app"),
    "syntax": ("def (", "SyntaxError"),
    "lifespan-failed": (
        """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "on purpose"})
""",
        "on purpose",
    ),
    "lifespan-leaves": (
        """
import sys

async def app(scope, receive, send):
    await receive()
    sys.exit(5)
""",
        "SystemExit: 5",
    ),
}


@pytest.fixture
def workers(spawn: Spawner, project: MakeProject) -> Iterator[Start]:
    """Start a driver: `workers(APP, kind="uvicorn")`."""
    started: list[Workers] = []

    def start(source: str = APP, /, **asked: Any) -> Workers:
        made = Workers(spawn, project({"main.py": source}), **asked)
        started.append(made)
        return made

    yield start
    for one in started:
        with contextlib.suppress(OSError):
            one.close()


@each_kind
def test_signals_mean_nothing_unless_the_pool_asks(workers: Start, kind: str) -> None:
    """Platforms signal the whole group: TERM, INT and HUP leave a worker serving, and one that is booting booting."""
    pool = workers(kind=kind)
    pool.start()
    pid = pool.look()["pid"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        os.kill(pid, number)
    client = pool.http()
    client.request("GET", "/slow?0.5")

    assert client.getresponse().read() == b"ok"
    assert pool.look()["stage"] == "READY"


@each_kind
def test_the_flag_is_enough(workers: Start, kind: str) -> None:
    """A stop whose signal was lost is carried out all the same."""
    pool = workers(kind=kind)
    pool.start()
    pool.tell("silently")

    assert pool.ended()["code"] == 0


@each_kind
@pytest.mark.parametrize(("source", "said"), [(SLOW_IMPORT, "importing"), (SLOW_LIFESPAN, "starting")])
def test_a_stop_during_the_boot_is_exit_code_0(workers: Start, kind: str, source: str, said: str) -> None:
    """Nobody waits for the end of an import, or of a lifespan's start."""
    pool = workers(source, kind=kind)
    pool.tell("start")
    until(lambda: said in pool.driver.stdout, said, 20)
    pool.tell("term")
    stage = pool.look()["stage"]
    pool.tell("stop")
    end = pool.ended(timeout_s=5)

    assert stage == {"importing": "IMPORTING", "starting": "LIFESPAN"}[said]
    assert end["code"] == 0


@each_kind
@pytest.mark.parametrize("fault", BROKEN)
def test_a_failed_boot_is_exit_code_3_with_evidence(workers: Start, kind: str, fault: str) -> None:
    """Why the application could not start is written down for the arbiter, and nowhere else."""
    source, words = BROKEN[fault]
    pool = workers(source, kind=kind)
    pool.tell("start")
    end = pool.ended()

    assert end["code"] == 3
    assert words in end["evidence"]
    assert words not in pool.driver.stderr


@each_kind
def test_errors_of_a_boot_that_does_not_fail_are_logged(workers: Start, kind: str) -> None:
    """An application may log on its server's logger, and start all the same: nothing of it is lost."""
    name = "uvicorn.error" if kind == "uvicorn" else "gunicorn.error"
    pool = workers(f"import logging\nlogging.getLogger({name!r}).error('only said')\n{APP}", kind=kind)
    pool.start()

    assert "only said" in pool.driver.stderr
    assert pool.look()["evidence"] == ""


@each_kind
def test_a_missing_certificate_is_exit_code_3(workers: Start, kind: str) -> None:
    """Above all, nobody is served without TLS in its place."""
    if kind == "uvicorn":
        pool = workers(kind=kind, config={"ssl_certfile": __file__})
    else:
        pool = workers(kind=kind, settings={"certfile": __file__, "keyfile": __file__})
    pool.tell("start")
    end = pool.ended()

    assert end["code"] == 3
    assert end["evidence"]


@each_kind
def test_stacks_of_tasks_are_written_while_the_loop_is_blocked(workers: Start, kind: str) -> None:
    """Every await of a task is named, and where the main thread sleeps; the worker goes on afterwards."""
    pool = workers(kind=kind)
    pool.start()
    waiting, blocking = pool.http(), pool.http()
    waiting.request("GET", "/slow?600")
    until(lambda: "began /slow" in pool.driver.stdout, "the request")
    blocking.request("GET", "/block?1.5")
    until(lambda: "began /block" in pool.driver.stdout, "the block")
    pool.tell("stacks")
    evidence = until(lambda: pool.look()["evidence"], "the stacks")

    assert "in waiting_inside" in evidence
    assert "time.sleep(seconds)" in evidence
    assert blocking.getresponse().read() == b"ok"


@each_kind
def test_an_abort_leaves_the_threads_stacks(workers: Start, kind: str) -> None:
    """faulthandler is in force after the server has set its own signals."""  # noqa: D403 - the module's name
    pool = workers(kind=kind)
    pool.start()
    client = pool.http()
    client.request("GET", "/block?30")
    until(lambda: "began /block" in pool.driver.stdout, "the block")
    pool.tell("abort")
    end = pool.ended()

    assert end["code"] == -signal.SIGABRT
    assert "in http" in end["evidence"]


@each_kind
def test_requests_and_delays_are_on_the_board(workers: Start, kind: str) -> None:
    """What is under way, how many were answered, and how late the loop was, can be read from outside."""
    pool = workers(kind=kind)
    pool.start()
    client = pool.http()
    client.request("GET", "/block?1.3")
    flying = until(lambda: pool.look()["flying"], "the request")
    client.getresponse().read()
    until(lambda: pool.look()["lag_s"] > 1, "the delay")
    until(lambda: pool.look()["requests"] == 1, "the count")

    assert flying == [["GET", "/block"]]


@each_kind
def test_a_worker_that_has_had_enough_goes_on(workers: Start, kind: str) -> None:
    """After its last request it asks for a replacement, and serves until that is there."""
    limit = {"config": {"limit_max_requests": 2}} if kind == "uvicorn" else {"settings": {"max_requests": 2}}
    pool = workers(kind=kind, **limit)
    pool.start()
    client = pool.http()
    for _ in range(3):
        client.request("GET", "/")
        client.getresponse().read()
    until(lambda: pool.look()["retiring"], "the wish")
    client.request("GET", "/")

    assert client.getresponse().read() == b"ok"
    assert pool.look()["stage"] == "READY"


def ends(pid: int) -> bool:
    """Tell whether a process is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@linux
@pytest.mark.parametrize(
    ("kind", "group"), [("uvicorn", None), ("gunicorn", None), ("gunicorn", GROUP), ("asgi", GROUP)]
)
def test_a_worker_dies_with_its_arbiter(workers: Start, kind: str, group: int | None) -> None:
    """The kernel sees to it, whatever the worker does; a change of group, as one of user, makes it forget that."""
    pool = workers(kind=kind, settings={"group": group} if group else {})
    pool.start()
    pid = pool.look()["pid"]
    adjusted = int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    own = int(Path(f"/proc/{pool.driver.pid}/oom_score_adj").read_text())
    client = pool.http()
    client.request("GET", "/block?20")
    until(lambda: "began /block" in pool.driver.stdout, "the block")
    os.kill(pool.driver.pid, signal.SIGKILL)
    started = time.monotonic()
    until(lambda: ends(pid), "the worker's end", 3)

    assert time.monotonic() - started < 3
    assert adjusted == min(own + 300, 1000)
