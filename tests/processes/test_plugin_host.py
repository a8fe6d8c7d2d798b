"""Does the code of plugins run where it harms nobody: in a host that is restarted, and is there only when needed?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from support import plugin_host
from support.plugin_host import FINE, TIMEOUT_S, WithPlugins, host_of, lines, wait_for
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

monitored = plugin_host.monitored


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
