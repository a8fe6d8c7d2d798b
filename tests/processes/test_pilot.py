"""How many workers does the pool turn out to have room for, with real processes of a real size?"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from support.monitored import start_steered
from support.pool import both_servers, linux_only, start_pool

if TYPE_CHECKING:
    from pathlib import Path

    from support.pool import Pool
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = linux_only

# Holds as many MB as `held` says from its import on, and as many as `path` says from the request for it on; a worker
# after the first waits in its import until there is no file `shut`.
APP = """
import json, os, pathlib, time

FOLDER = pathlib.Path(__file__).parent
held = [b"x" * (int((FOLDER / "held").read_text()) * 10**6)]
try:
    (FOLDER / "first").touch(exist_ok=False)
except FileExistsError:
    while (FOLDER / "shut").exists():
        time.sleep(0.01)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if (more := scope["path"].strip("/")) and len(held) == 1:
        held.append(b"x" * (int(more) * 10**6))
    body = json.dumps({"pid": os.getpid()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""
TWO = ("--max-workers", "2")


def begin(launch: Launch, folder: Path, server: str, *words: str) -> Pool:
    """Start it without a number of workers."""
    return start_pool(launch, folder, server, *words, workers=None)


def application(project: MakeProject, held: int = 0, **files: str) -> Path:
    """Write the application, which holds so many MB."""
    return project({"main.py": APP, "held": str(held), **files})


def order(pool: Pool) -> list[str]:
    """Return what happened to workers and pool, one after the other."""
    names = [str(record.get("event", "")).removeprefix("launcher.") for record in pool.launched.events]
    return [name for name in names if name in {"worker_started", "worker_ready", "worker_measured", "pool_sized"}]


@both_servers
def test_one_serves_while_the_others_start(server: str, launch: Launch, project: MakeProject) -> None:
    """The first answers before a second is there at all: that one is started when the first has been measured."""
    pool = begin(launch, application(project, shut=""), server, *TWO)
    first = pool.asked()["pid"]
    pool.seen("worker_started", 2)

    assert pool.asked()["pid"] == first
    assert ["worker_started", "worker_ready", "worker_measured", "pool_sized", "worker_started"] == order(pool)
    assert pool.named("workers_chosen", workers=1)


@both_servers
def test_a_pool_grows_to_what_fits_and_begins_there_the_next_time(
    server: str, launch: Launch, project: MakeProject
) -> None:
    """Cold it is one, then two; the next start knows, and starts two at once."""
    folder = application(project)
    (folder / ".launcher").mkdir()
    cold = begin(launch, folder, server, *TWO)
    cold.ready(2)
    cold.seen("worker_measured", workers=2)
    assert cold.end() == 0
    (kept,) = json.loads((folder / ".launcher" / "memory.json").read_text())["measured"].values()
    assert 1 <= kept["worker_bytes"] / 1e6 <= 100
    warm = begin(launch, folder, server, *TWO)
    warm.ready(2)

    assert warm.named("workers_chosen", workers=2)
    assert ["worker_started", "worker_started"] == order(warm)[:2]
    assert warm.seen("pool_sized", wanted=2, before=2)


@both_servers
def test_a_large_application_stays_at_what_fits(server: str, launch: Launch, project: MakeProject) -> None:
    """Two of 150 MB are too many for 400 MiB: one serves, and the sum is said."""
    pool = begin(launch, application(project, 150), server, *TWO, "--memory", "400MiB")
    (sized,) = pool.seen("pool_sized")

    assert (1, 1, "1 fits in memory, where 2 would be allowed") == (sized["wanted"], sized["fits"], sized["because"])
    assert sized["sum"].endswith("= 1")
    assert 150e6 < pool.named("worker_measured")[0]["worker_bytes"] < 200e6
    assert pool.asked()
    assert len(pool.named("worker_started")) == 1


@both_servers
def test_what_fits_before_traffic_may_not_fit_after_it(server: str, launch: Launch, project: MakeProject) -> None:
    """Two are provisional; with 200 MB more after the first requests one is asked to leave, and nobody is refused."""
    pool = begin(launch, application(project), server, *TWO, "--memory", "500MiB")
    pool.ready(2)
    pool.seen("worker_measured", 2, provisional=True)
    answers = [pool.ask("/200") for _ in range(120)]
    (smaller,) = pool.seen("pool_sized", wanted=1)
    (gone,) = pool.seen("worker_stopped")

    assert None not in answers
    assert smaller["because"].startswith("the workers have become larger than was foreseen: 1 fits")
    assert gone["because"] == "scale"
    assert len(pool.workers()) == 1


@both_servers
def test_what_was_said_holds(server: str, launch: Launch, project: MakeProject) -> None:
    """A pool of two that is told to be one is one, also after traffic and a reload."""
    pool = begin(launch, application(project), server, *TWO)
    pool.ready(2)
    pool.tell(signal.SIGTTOU)
    pool.seen("pool_resized", wanted=1)
    pool.seen("worker_stopped")
    for _ in range(60):
        pool.asked()
    pool.seen("worker_measured", provisional=False)
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded", replaced=1)
    pool.seen("worker_measured", requests=0, workers=1)

    assert len(pool.workers()) == 1
    assert len(pool.named("pool_sized")) == 1


@both_servers
def test_a_reload_keeps_the_size(server: str, launch: Launch, project: MakeProject) -> None:
    """Two that were found out are two after HUP, and are measured anew."""
    pool = begin(launch, application(project), server, *TWO)
    pool.ready(2)
    pool.tell(signal.SIGHUP)
    pool.seen("pool_reloaded", replaced=2)
    before = len(pool.named("worker_measured"))
    pool.seen("worker_measured", before + 1)

    assert len(pool.workers()) == 2


@both_servers
def test_probes_count_against_what_is_wanted_now(server: str, launch: Launch, project: MakeProject) -> None:
    """All that are wanted are ready with the first one, while the second is not even asked for."""
    folder = application(project, 150)
    steered = start_steered(launch, folder, server, *TWO, "--memory", "400MiB", "--ready-workers", "100%", workers=None)
    steered.pool.ready(1)

    assert steered.says("/readyz?verbose", "1/1 ready")[0] == 200


def test_a_number_in_gunicorns_own_words_holds(launch: Launch, project: MakeProject) -> None:
    """After `--` it is gunicorn's to read: two at once, and nobody measures."""
    pool = begin(launch, application(project), "gunicorn", "--", "--workers", "2")
    pool.ready(2)

    assert ["worker_started", "worker_started"] == order(pool)[:2]
    assert not pool.named("worker_measured")


def test_preloaded_workers_are_measured_by_what_they_have_themselves(launch: Launch, project: MakeProject) -> None:
    """150 MB are there once, and once more for a reload: in 600 MiB there is room for two."""
    pool = begin(launch, application(project, 150), "gunicorn", *TWO, "--preload", "--memory", "600MiB")
    pool.ready(2)
    measured = pool.seen("worker_measured", workers=2)[0]

    assert measured["worker_bytes"] < 50e6
    assert 150e6 < measured["shared_bytes"] < 230e6
