"""How does a test get a monitor with plugins, and what can it ask of their host?"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from launcher.hook_plugins import hook_plugins, of_host
from support.monitor import Monitored, handmade, start
from support.spawning import Spawner
from support.waiting import until

TIMEOUT_S = 30


class WithPlugins(Protocol):
    """What the fixture `monitored` is."""

    def __call__(self, *, listen: list[str] | None = None, health_http: str | None = None, **modules: str) -> Monitored:
        """Run a monitor with these plugins: module -> source."""


@pytest.fixture
def monitored(spawn: Spawner, tmp_path: Path) -> Iterator[WithPlugins]:
    """Start monitors whose parent we are, with one ready worker each."""
    made: list[Monitored] = []

    def run(*, listen: list[str] | None = None, health_http: str | None = None, **modules: str) -> Monitored:
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        plan: dict[str, Any] = {"listen": listen or [], "cwd": str(tmp_path), "import_dir": str(tmp_path)}
        plan |= {"hooks": of_host(hook_plugins(list(modules), tmp_path)), "health_http": health_http, "details": True}
        folder = tmp_path / f"monitor{len(made)}"
        folder.mkdir()
        running = start(spawn, handmade(folder, **plan))
        running.serving()
        made.append(running)
        return running

    yield run
    for one in made:
        one.process.popen.kill()
        one.close()


def host_of(running: Monitored) -> int | None:
    """Return the pid of the plugin host, if there is one now."""
    pid: int | None = running.json("/status")["plugins"]["pid"]
    return pid


def lines(running: Monitored, probe: str = "readyz") -> dict[str, str]:
    """Return what a probe says of each check: name -> the rest of its line."""
    found = (line[3:].partition(" ") for line in running.local(f"/{probe}?verbose").body.splitlines()[:-1])
    return {name: rest for name, _, rest in found}


def wait_for(running: Monitored, name: str, rest: str, probe: str = "readyz") -> None:
    """Wait until the line of a check begins with `rest`."""
    until(
        lambda: lines(running, probe).get(name, "").startswith(rest),
        f"{name} {rest}; now {lines(running, probe)}",
        TIMEOUT_S,
    )


FINE = """
from launcher import HealthCheck

def launcher_health_checks(settings):
    return [HealthCheck("fine", lambda: None, interval=0.5)]
"""
