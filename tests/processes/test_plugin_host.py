"""Does the code of plugins run where it harms nobody, and is its word taken?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil
import pytest

from launcher.hook_plugins import hook_plugins, of_host
from support.monitor import Monitored, handmade, start
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.spawning import Spawner

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


def test_checks_decide_with_the_workers(monitored: WithPlugins, tmp_path: Path) -> None:
    """Not ready before the first result, ready while all pass; the reason of the one that fails has no password."""
    switch = tmp_path / "down"
    source = f"""
        import pathlib, time
        from launcher import HealthCheck, hookimpl

        def database():
            if pathlib.Path({str(switch)!r}).exists():
                raise ConnectionError("no answer from postgresql://app:geheim@db/orders")

        @hookimpl
        def launcher_health_checks(settings):
            time.sleep(1)
            yield HealthCheck("database", database, interval=0.2)
            yield HealthCheck("started-once", lambda: None, group="startup")
    """
    running = monitored(ops=source)
    first = running.local("/readyz?verbose")
    wait_for(running, "database", "ok")
    ready = running.get("/readyz").status
    startup = lines(running, "startupz")
    switch.touch()
    wait_for(running, "database", "failed")
    down = (running.get("/readyz").status, running.get("/readyz/database").status, running.get("/livez").status)
    reason = lines(running)["database"]
    switch.unlink()
    wait_for(running, "database", "ok")

    assert 503 == first.status
    assert "[-]plugins failed: not yet checked" in first.body
    assert 200 == ready
    assert {"started": "ok", "started-once": "ok"} == startup
    assert (503, 503, 200) == down
    assert "failed: no answer from postgresql://app:***@db/orders" == reason
    assert ["launcher.health_check_failed", "launcher.health_check_passed"] == [
        event["event"] for event in running.process.events
    ]


BROKEN = {
    "an import that raises": ("raise RuntimeError('on purpose')\n# launcher_health_checks", "RuntimeError: on purpose"),
    "an import that leaves": ("import sys; sys.exit('bye')\n# launcher_health_checks", "SystemExit: bye"),
    "async def": ("async def launcher_health_checks(settings): ...", "launcher_health_checks is `async def`"),
    "another argument": ("def launcher_health_checks(nonsense): ...", "nonsense"),
    "no such hook": ("def launcher_health_check(settings): ...\n# launcher_health_checks", "there is no hook"),
    "a hook that raises": ("def launcher_health_checks(settings): raise KeyError('URL')", "KeyError: 'URL'"),
    "no check": ("def launcher_health_checks(settings): return ['database']", "'database' is no launcher.HealthCheck"),
    "a name of ours": (FINE.replace('"fine"', '"workers"'), "the name 'workers' is the launcher's own"),
}


@pytest.mark.parametrize(("source", "because"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_and_the_others_run(monitored: WithPlugins, source: str, because: str) -> None:
    """It is said once; what it would have checked counts as failing, since nobody knows what that is."""
    running = monitored(broken=source, fine=FINE)
    wait_for(running, "fine", "ok")
    said = running.process.wait_event("launcher.plugin_refused")

    assert "module broken" == said["plugin"]
    assert because in said["because"]
    assert lines(running)["plugins"].startswith("failed: module broken: ")
    assert 1 == len(running.process.events)


def test_a_check_that_hangs_fails_alone(monitored: WithPlugins) -> None:
    """It has failed when its time is over; the others are asked as before, and so is it when it comes back."""
    running = monitored(
        fine=FINE,
        slow="""
            import threading, time
            from launcher import HealthCheck

            calls = []

            def slow():
                calls.append(1)
                if len(calls) == 1:
                    time.sleep(3)

            def launcher_health_checks(settings):
                return HealthCheck("slow", slow, interval=0.2, timeout=0.5)
        """,
    )
    wait_for(running, "slow", "failed: no answer within 0.5 s")
    others = lines(running)
    wait_for(running, "slow", "ok")

    assert "ok" == others["fine"]
    assert 1 == running.json("/status")["plugins"]["starts"]


def test_too_many_that_hang_cost_the_host_its_life(monitored: WithPlugins) -> None:
    """With three threads that do not come back it is ended and started again; results of the others stay."""
    running = monitored(
        fine=FINE,
        hanging="""
            import time
            from launcher import HealthCheck

            def hang():
                time.sleep(3600)

            def launcher_health_checks(settings):
                return [HealthCheck(f"hangs-{n}", hang, interval=0.2, timeout=0.3) for n in range(3)]
        """,
    )
    wait_for(running, "fine", "ok")
    first = host_of(running)
    seen: list[dict[str, str]] = []

    def next_host() -> int | None:
        seen.append(lines(running))
        return pid if (pid := host_of(running)) != first else None

    second = until(next_host, "another host", TIMEOUT_S)
    said = running.process.wait_event("launcher.plugin_host_failed")

    assert first != second
    assert {"ok"} == {one["fine"] for one in seen}
    assert "hung: hangs-0, hangs-1, hangs-2" == said["because"]
    assert not psutil.pid_exists(first or 0)


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 11)"])
def test_a_plugin_that_takes_the_host_down_is_set_aside(monitored: WithPlugins, end: str) -> None:
    """After two times it is left out, named, and the others run."""
    running = monitored(deadly=f"import os; {end}\n" + FINE.replace("fine", "deadly"), fine=FINE)
    wait_for(running, "fine", "ok")
    said = [event for event in running.process.events if event["event"] == "launcher.plugin_host_failed"]

    assert ["module deadly"] == said[-1]["set_aside"]
    assert lines(running)["plugins"].startswith("failed: module deadly: it takes the plugin host down: it ended with")
    assert 3 == running.json("/status")["plugins"]["starts"]


LISTENS = """
import json, pathlib
from launcher import Event

def launcher_event(event):
    assert isinstance(event, Event) and event.at.endswith("Z")
    with pathlib.Path({path!r}).open("a") as file:
        print(json.dumps([event.name, dict(event.facts)]), file=file)
"""


def test_events_are_told_in_order(monitored: WithPlugins, tmp_path: Path) -> None:
    """Who raises is said once and counted, and who hangs is left behind: the others hear everything."""
    heard = tmp_path / "heard"
    running = monitored(
        raises="def launcher_event(event): raise ValueError('on purpose')",
        hangs="import time\ndef launcher_event(event): time.sleep(3600)",
        listens=LISTENS.format(path=str(heard)),
    )
    until(lambda: host_of(running), "the host")
    for pid in range(5):
        running.server.send({"event": "launcher.worker_ready", "pid": pid})
    until(lambda: heard.exists() and len(heard.read_text().splitlines()) == 5, "five events", TIMEOUT_S)

    def said() -> list[dict[str, Any]]:
        return [event for event in running.process.events if event["event"] == "launcher.plugin_failed"]

    until(lambda: len(said()) > 1, "both that fail", TIMEOUT_S)
    failed = said()
    counted = until(
        lambda: len(found := running.json("/status")["plugins"]["failures"]) == 2 and found,
        "the counts",
        TIMEOUT_S,
    )

    assert [["launcher.worker_ready", {"pid": pid}] for pid in range(5)] == list(
        map(json.loads, heard.read_text().splitlines())
    )
    assert {"module raises": "ValueError: on purpose", "module hangs": "it has not returned within 10 s"} == {
        event["plugin"]: event["because"] for event in failed
    }
    assert 2 == len(failed)
    assert {"module raises": 5, "module hangs": 1} == counted


REPORT = {"schema": 1, "id": "r1", "at": "2026-01-02T03:04:05Z", "kind": "crash", "verdict": "oom", "later": "a key"}


def test_an_incident_is_told_until_it_is_taken(monitored: WithPlugins, tmp_path: Path) -> None:
    """Who raises is asked again, over an end of the host too, and who has it is not."""
    taken, tries, fixed = tmp_path / "taken", tmp_path / "tries", tmp_path / "fixed"
    note = "    with pathlib.Path({!r}).open('a') as file: print(report.id, report.verdict, file=file)\n"
    head = "import pathlib\ndef launcher_incident(report):\n"
    running = monitored(
        good=head + note.format(str(taken)),
        bad=head
        + note.format(str(tries))
        + f"    if not pathlib.Path({str(fixed)!r}).exists(): raise OSError('no network')\n",
    )
    until(lambda: host_of(running), "the host")
    running.server.send({"incident": REPORT})
    until(lambda: taken.exists() and tries.exists() and len(tries.read_text().splitlines()) > 1, "two tries", TIMEOUT_S)
    os.kill(host_of(running) or 0, signal.SIGKILL)
    before = len(tries.read_text().splitlines())
    until(lambda: len(tries.read_text().splitlines()) > before, "a try of the next host", TIMEOUT_S)
    fixed.touch()
    until(lambda: running.json("/status")["plugins"]["incidents_waiting"] == 0, "it is taken", TIMEOUT_S)

    assert ["r1 oom"] == taken.read_text().splitlines()


def test_the_host_ends_when_it_has_nothing_to_do(monitored: WithPlugins) -> None:
    """A plugin that returns no check and hears nothing costs no process."""
    running = monitored(empty="def launcher_health_checks(settings): return []")
    until(lambda: running.get("/readyz").status == 200, "readiness", TIMEOUT_S)
    until(lambda: host_of(running) is None, "the host's end", TIMEOUT_S)

    assert [] == running.process.children()
    assert [] == running.process.events


def test_without_plugins_there_is_no_host(monitored: WithPlugins) -> None:
    """No process, and nothing of it is imported; a module with kinds only does not count."""
    running = monitored(kinds="launcher_steps = {}")
    ready = running.get("/readyz").status
    program = "import sys, launcher.monitor.process; print({'launcher.monitor.host', 'pluggy'} & set(sys.modules))"
    imported = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout

    assert 200 == ready
    assert [] == running.process.children()
    assert "plugins" not in running.json("/status")
    assert "set()" == imported.strip()


def test_it_is_started_again_and_ends_with_the_monitor(monitored: WithPlugins) -> None:
    """After kill -9 of the host nobody sees a difference; after kill -9 of the monitor the host is gone."""
    running = monitored(fine=FINE)
    wait_for(running, "fine", "ok")
    first = host_of(running)
    os.kill(first or 0, signal.SIGKILL)
    seen: set[int] = set()

    def next_host() -> int | None:
        seen.add(running.get("/readyz").status)
        return pid if (pid := host_of(running)) != first else None

    second = until(next_host, "the next host", TIMEOUT_S)
    running.process.popen.kill()
    running.process.wait()
    until(lambda: not psutil.pid_exists(second or 0), "the host's end")

    assert {200} == seen


class Answers(BaseHTTPRequestHandler):
    """Answers with the status that the server has."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(self.server.status if self.path == "/health" else 404)  # type: ignore[attr-defined]  # ours
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def application() -> Iterator[HTTPServer]:
    """Serve `/health` with the status that is put into `status`."""
    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.status = 200  # type: ignore[attr-defined]  # ours
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_application_is_asked_through_the_pool(monitored: WithPlugins, application: HTTPServer) -> None:
    """200 passes, 500 fails with a reason; a worker that becomes ready has it asked at once."""
    running = monitored(listen=[f"0.0.0.0:{application.server_port}"], health_http="/health")
    wait_for(running, "http", "ok")
    application.status = 500  # type: ignore[attr-defined]  # ours
    wait_for(running, "http", "failed: GET /health was answered with 500")
    status = running.get("/readyz").status
    application.status = 204  # type: ignore[attr-defined]  # ours
    before = time.monotonic()
    until(
        lambda: running.server.send({"event": "launcher.worker_ready"}) and lines(running)["http"] == "ok",
        "readiness",
        TIMEOUT_S,
    )

    assert 503 == status
    assert time.monotonic() - before < 4


def test_an_application_that_does_not_listen(monitored: WithPlugins) -> None:
    """Nobody there is a failing check."""
    running = monitored(listen=[f"127.0.0.1:{free_port()}"], health_http="/health")
    wait_for(running, "http", "failed: [Errno")

    assert 503 == running.get("/readyz").status
