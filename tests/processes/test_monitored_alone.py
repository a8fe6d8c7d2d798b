"""Is one uvicorn process, with no pool above it, seen as a pool is?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.launched import http_get
from support.monitored import ready_steered
from support.pool import APP, linux_only

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = linux_only


def test_one_uvicorn_process_is_seen(launch: Launch, project: MakeProject) -> None:
    """Its requests are counted, `health_http` is asked as soon as it serves, and its end is told beforehand."""
    folder = project({"main.py": APP, "launcher.toml": '[health]\nhttp = "/"\n'})
    steered = ready_steered(launch, folder, "uvicorn", workers=1)
    ready = steered.pool.until(lambda: steered.command("health", "ready").code == 0, "a ready answer") is not False
    for _ in range(3):
        http_get(steered.pool.port, "/")
    steered.pool.until(lambda: _requests(json.loads(steered.command("status", "--json").stdout)) >= 3, "the count")
    stopped = steered.command("stop")
    steered.run.wait()
    said = [json.loads(line)["event"] for line in steered.run.stderr.splitlines() if line.startswith("{")]

    assert ready
    assert stopped.code == 0
    assert [event for event in said if event in {"launcher.worker_ready", "launcher.pool_draining"}] == [
        "launcher.worker_ready",
        "launcher.pool_draining",
    ]


def _requests(status: dict[str, list[dict[str, int]]]) -> int:
    return sum(worker["requests"] for worker in status["workers"])
