"""Do launchers that share nothing but a Redis server run a step once?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from support.commands import APPENDS, error_of, times
from support.projects import write_project
from support.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from support.redis_server import RedisServer
    from support.spawning import Spawner

SEED = f"""
[[prestart]]
name = "seed"
run = "{sys.executable} seed.py"
once_per = "release"
"""


def test_five_launchers_run_a_step_once(spawn: Spawner, tmp_path: Path, redis_server: RedisServer) -> None:
    """Of five at once one runs it and the others find it done; nobody has the lock afterwards."""
    folder = write_project(tmp_path / "project", {"seed.py": APPENDS, "launcher.toml": SEED})
    words = ("prestart", "--lock", redis_server.url(1), "--release", "r1")
    launched = [spawn.launch(*words, cwd=folder) for _ in range(5)]

    assert [one.wait(60) for one in launched] == [0] * 5, "\n".join(map(str, launched))
    assert times(folder) == 1
    with redis_server.connect(1) as client:
        assert client.exists("{asgi-launcher/}:lock") == 0
        assert [name for name in client.hkeys("{asgi-launcher/}:ledger") if name.startswith("record:")] == [
            'record:["seed", "r1"]'
        ]


def test_a_lock_that_nobody_answers_for(spawn: Spawner, tmp_path: Path) -> None:
    """Nothing is run and nothing is started; the password is in no output."""
    folder = write_project(tmp_path / "project", {"seed.py": APPENDS, "launcher.toml": SEED})
    url = f"redis://:geheim@127.0.0.1:{free_port()}/0"
    launched = spawn.launch("prestart", "--lock", url, "--lock-timeout", "1s", "--release", "r1", cwd=folder)

    assert launched.wait(60) != 0, launched
    assert times(folder) == 0
    assert "redis://:***@127.0.0.1" in error_of(launched)
    assert "geheim" not in launched.stdout + launched.stderr
