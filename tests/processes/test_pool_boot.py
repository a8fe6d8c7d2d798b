"""What becomes of a pool whose workers cannot start, and of one that only needs long?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.pool import APP, SERVERS, both_servers, each_bare, linux_only, start_bare, start_pool

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner

# Put together when it runs, so that the line of source in a traceback does not hold it.
WORD = "broken-4711"
_WORD = "'-'.join(['broken', '4711'])"
NEVER = "\nasync def app(scope, receive, send): pass\n"  # whoever looks at the source finds an application
RAISES = f"raise RuntimeError({_WORD})" + NEVER
BROKEN = {
    "raises": RAISES,
    "missing": f"from importlib import import_module; import_module({_WORD})" + NEVER,
    "lifespan-says-no": f"""
async def app(scope, receive, send):
    await receive()
    await send({{"type": "lifespan.startup.failed", "message": {_WORD}}})
""",
    "lifespan-raises-late": f"""
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({{"type": "lifespan.startup.failed", "message": {_WORD}}})
        raise RuntimeError("after its last word")
""",
}
LEAVES = "import sys; sys.exit(1)" + NEVER
SEGFAULT = f"""
import os, signal
def dies_in_import(): os.kill(os.getpid(), signal.SIGSEGV)
dies_in_import()
{NEVER}"""
PRELOADED = {
    "code": ("import os; os._exit(int('7'))" + NEVER, "code 7"),
    "no-failure": ("import os; os._exit(int('0'))" + NEVER, "code 0"),
    "as-if-said": ("import os; os._exit(int('1'))" + NEVER, "code 1"),
    "signal": (SEGFAULT, "signal SIGSEGV"),
}
BUSY = """
import ctypes, time
def burns_seconds():
    until = time.monotonic() + 1.2
    while time.monotonic() < until: pass
burns_seconds()
ctypes.PyDLL(None).usleep(1_200_000)
"""
MOST_LINES = 120
BROKEN_FOR = [
    (server, fault)
    for fault in BROKEN
    for server in SERVERS
    if server != "gunicorn-asgi" or fault in {"raises", "lifespan-says-no"}
]


@pytest.mark.parametrize(("server", "fault"), BROKEN_FOR)
def test_never_ready_is_3_and_said_once(launch: Launch, project: MakeProject, server: str, fault: str) -> None:
    """Four workers that fail in the same way: exit code 3, the application's error once, few starts, a short log."""
    pool = start_pool(launch, project({"main.py": BROKEN[fault]}), server, workers=4)

    assert pool.launched.wait() == 3, pool.launched
    assert 1 == pool.launched.stderr.count(WORD), pool.launched
    assert len(pool.named("worker_started")) <= 8
    assert len(pool.launched.stderr.splitlines()) <= MOST_LINES


@linux_only
@both_servers
def test_few_go_first_where_cpus_are_few(launch: Launch, project: MakeProject, server: str) -> None:
    """Of three that may use one CPU the first one serves before the others are started."""
    one_cpu = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
    pool = start_pool(launch, project({"main.py": APP}), server, workers=3, before=one_cpu)
    pool.ready(3)
    names = [str(event.get("event")) for event in pool.launched.events]
    order = [name for name in names if name in {"launcher.worker_started", "launcher.worker_ready"}]

    assert ["started", "ready", "started", "started"] == [name.rpartition("_")[2] for name in order[:4]]
    assert pool.end() == 0


@linux_only
@pytest.mark.parametrize(("source", "how"), PRELOADED.values(), ids=PRELOADED)
def test_how_a_preloaded_import_has_ended(launch: Launch, project: MakeProject, source: str, how: str) -> None:
    """One that leaves no exception is named by its code or signal, where others are shown."""
    pool = start_pool(launch, project({"main.py": source}), "gunicorn", "--preload")

    assert pool.launched.wait() == 3, pool.launched
    (told, *_) = pool.named("worker_not_started")
    assert told["because"].endswith(f": the process that did so ended with {how}")


@both_servers
def test_an_application_that_leaves(launch: Launch, project: MakeProject, server: str) -> None:
    """sys.exit while it is imported is exit code 3, and said."""
    pool = start_pool(launch, project({"main.py": LEAVES}), server)

    assert pool.launched.wait() == 3, pool.launched
    assert "sys.exit" in pool.launched.stderr or "SystemExit" in pool.launched.stderr
    assert len(pool.named("worker_started")) <= 4


@both_servers
def test_a_segmentation_fault_at_the_start(launch: Launch, project: MakeProject, server: str) -> None:
    """Exit code 3, the function it happened in once, few starts."""
    pool = start_pool(launch, project({"main.py": SEGFAULT}), server)

    assert pool.launched.wait() == 3, pool.launched
    assert "SIGSEGV" in pool.launched.stderr
    assert 1 == pool.launched.stderr.count("in dies_in_import"), pool.launched
    assert len(pool.named("worker_started")) <= 4


@pytest.mark.parametrize("part", ["import", "lifespan"])
@both_servers
def test_a_start_that_hangs(launch: Launch, project: MakeProject, server: str, part: str) -> None:
    """A start beyond its deadline is killed with its stack in the log; exit code 3."""
    folder = project({"main.py": APP, f"hang-{part}": ""})
    pool = start_pool(launch, folder, server, "--startup-timeout", "2s")

    assert pool.launched.wait() == 3, pool.launched
    assert f"in hangs_in_{part}" in pool.launched.stderr, pool.launched
    assert len(pool.named("worker_started")) <= 4


@both_servers
def test_a_busy_start_is_left_alone(launch: Launch, project: MakeProject, server: str) -> None:
    """An import that burns CPU, then holds the GIL in C, longer than a worker may be silent, is not disturbed."""
    folder = project({"main.py": APP + BUSY})
    pool = start_pool(launch, folder, server, "--worker-timeout", "1s", "--startup-timeout", "40s")
    pool.ready(2, 40)

    assert 2 == len(pool.named("worker_started"))
    assert [] == pool.named("worker_hung")
    assert pool.end() == 0


@each_bare
def test_control_a_broken_module(spawn: Spawner, project: MakeProject, bare: str) -> None:
    """The bare server says it more often than once: uvicorn for ever, gunicorn for each of its workers."""
    folder = project({"main.py": RAISES})
    pool = start_bare(spawn, folder, bare, workers=2 if bare == "uvicorn" else 4)
    if bare == "uvicorn":
        pool.until(lambda: pool.launched.stderr.count(WORD) > 4, "endless respawning", 40)
    else:
        pool.launched.wait()

    assert pool.launched.stderr.count(WORD) > 1, pool.launched
