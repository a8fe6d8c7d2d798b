"""Does every plugin get every report, whatever the others and the processes between do?"""

from __future__ import annotations

import json
import os
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from launcher.hook_plugins import hook_plugins, of_host
from launcher.incidents.report import new_report
from support.monitor import Handmade, Monitored, handmade, start
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.spawning import Spawner

TIMEOUT_S = 30
RECORDS = """
    def launcher_incident(report):
        with pathlib.Path({path!r}).open("a") as file:
            print(report.id, file=file)
"""
# More than this machine has: what its group holds while other tests run is not this pool's.
NO_LIMIT = {"limit_bytes": 1 << 60, "budget_bytes": 1 << 60, "source": "a test"}


class Scene:
    """A launcher without a pool: it starts monitors, one after the other, with the plugins of a folder."""

    def __init__(self, spawn: Spawner, folder: Path) -> None:
        """Keep everything in `folder`."""
        self.spawn, self.folder, self.crashes = spawn, folder, folder / "crashes"
        self.names: list[str] = []
        self.said: list[dict[str, Any]] = []
        self.made: Handmade
        self.monitor: Monitored
        self.log = folder / "termination-log"

    def plugin(self, name: str, source: str, **facts: object) -> Path:
        """Write a plugin; return the file that it writes what it has taken to."""
        path = self.folder / f"{name}.taken"
        text = textwrap.dedent(source).format(path=str(path), **facts)
        (self.folder / f"{name}.py").write_text(f"import os, pathlib, time\n{text}")
        self.names.append(name)
        return path

    def begin(self, *, known: bool = True) -> None:
        """Start the first monitor; `known`: the application is."""
        hooks = [one for one in of_host(hook_plugins(self.names, self.folder)) if one["who"].startswith("module ")]
        incidents = {"folder": str(self.crashes), "termination_log": str(self.log), "because": ""}
        self.crashes.mkdir()
        plan: dict[str, Any] = {"cwd": str(self.folder), "hooks": hooks, "incidents": incidents}
        plan |= {"listen": [], "import_dir": str(self.folder)} if known else {}
        self.made = handmade(self.folder, memory=NO_LIMIT, **plan)
        self.again()

    def again(self) -> None:
        """Start the next monitor."""
        self.monitor = start(self.spawn, self.made)

    def kill(self) -> None:
        """Kill the monitor, and so the plugin host."""
        self.monitor.process.popen.kill()
        self.monitor.process.wait()

    def send(self, kind: str = "crash") -> str:
        """Send a report and return its id."""
        report = new_report(kind, "a test")
        self.made.server.send({"incident": report})
        return str(report["id"])

    def answers(self, word: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Return the first answer with this word."""

        def answer() -> list[Any]:
            self.said += self.made.server.receive()
            return [said[word] for said in self.said if word in said]

        return until(answer, f"the answer {word}", timeout_s)[0]


@pytest.fixture
def scene(spawn: Spawner, tmp_path: Path) -> Iterator[Scene]:
    """Return one that has not begun."""
    made = Scene(spawn, tmp_path)
    yield made
    made.monitor.process.popen.kill()
    made.made.close()


def taken(path: Path) -> list[str]:
    """Return the ids that a plugin has taken."""
    return path.read_text().split() if path.exists() else []


def test_nothing_is_lost_by_one_that_raises_or_hangs_or_a_monitor_that_dies(scene: Scene) -> None:
    """Who records has it at once, who raises at the third call, who hangs after the next monitor's start; each once."""
    records = scene.plugin("records", RECORDS)
    raises = scene.plugin(
        "raises",
        """
        calls = []
        def launcher_incident(report):
            calls.append(report)
            if len(calls) < 3:
                raise OSError("no network")
            with pathlib.Path({path!r}).open("a") as file:
                print(report.id, file=file)
        """,
    )
    hangs = scene.plugin(
        "hangs",
        """
        def launcher_incident(report):
            called = pathlib.Path({path!r}).with_suffix(".called")
            if not called.exists():
                called.touch()
                time.sleep(3600)
            with pathlib.Path({path!r}).open("a") as file:
                print(report.id, file=file)
        """,
    )
    scene.begin()
    number = scene.send()
    kept = scene.answers("kept")
    until(lambda: taken(records), "the one that records", 9)  # before anybody can be said to hang
    until(lambda: taken(raises), "the third call", TIMEOUT_S)
    notes = scene.crashes / f"{number}.pending"
    until(lambda: len(json.loads(notes.read_text())["taken_by"]) == 2, "a note of who has it")
    delivered = [said for said in scene.said + scene.made.server.receive() if "delivered" in said]
    scene.kill()
    scene.again()

    assert number == kept == scene.answers("delivered")
    assert [] == delivered
    assert [[number]] * 3 == [taken(path) for path in (records, raises, hangs)]
    assert {f"{number}.json"} == {name for name in os.listdir(scene.crashes) if not name.startswith("run-")}  # noqa: PTH208 - names


def test_a_report_is_told_before_the_application_is_known(scene: Scene) -> None:
    """A start that fails is told, without checks; once the application is known these are asked as well."""
    checks = scene.plugin(
        "checks",
        RECORDS
        + """
    def launcher_health_checks(settings):
        from launcher import HealthCheck
        assert settings.app == "main:app"
        return HealthCheck("late", lambda: None)
""",
    )
    scene.begin(known=False)
    number = scene.send("step-failed")
    delivered = scene.answers("delivered")
    early = scene.monitor.local("/readyz?verbose").body
    scene.monitor.serving()
    plan = {"event": "plan", "app": "main:app", "listen": [], "import_dir": str(scene.folder)}
    scene.made.server.send(plan)
    until(lambda: "[+]late ok" in scene.monitor.local("/readyz?verbose").body, "the check", TIMEOUT_S)

    assert number == delivered
    assert [number] == taken(checks)
    assert "late" not in early
    assert [] == scene.monitor.process.events


def test_one_that_takes_the_host_down_is_left_out(scene: Scene) -> None:
    """The second time it is known who it was, being told alone; the others have the report, and each new one."""
    scene.plugin("deadly", "def launcher_incident(report): os._exit(3)")
    records = scene.plugin("records", RECORDS)
    scene.begin()
    number = scene.send()
    first = scene.answers("delivered")
    broken = scene.monitor.json("/status")["plugins"]["broken"]
    scene.send()
    until(lambda: len(set(taken(records))) == 2, "the second", TIMEOUT_S)

    assert first == number
    assert ["module deadly"] == list(broken)
    assert broken["module deadly"].startswith("it takes the plugin host down: it ended with 3")


def test_what_no_plugin_understands_is_not_told_for_ever(scene: Scene) -> None:
    """A report of tomorrow's kind is kept, and its sender does not wait for it."""
    records = scene.plugin("records", RECORDS)
    scene.begin()
    report = new_report("crash", "a test") | {"kind": "of-tomorrow"}
    scene.made.server.send({"incident": report})

    assert report["id"] == scene.answers("delivered")
    assert [] == taken(records)
    assert "of-tomorrow" == scene.monitor.json("/crashes")["crashes"][0]["kind"]


def test_fifty_at_once(scene: Scene) -> None:
    """Fifty reports that come in one moment, with long stacks, are kept, told and answered, each once."""
    records = scene.plugin("records", RECORDS)
    scene.begin()
    reports = [new_report("crash", "a test", stacks="x" * 20_000) for _ in range(50)]
    for report in reports:
        until(lambda report=report: scene.made.server.send({"incident": report}), "room")  # type: ignore[misc]  # bound at once
    until(lambda: len(set(taken(records))) == 50, "all", TIMEOUT_S)
    numbers = {report["id"] for report in reports}

    def delivered() -> set[str]:
        scene.said += scene.made.server.receive()
        return {said["delivered"] for said in scene.said if "delivered" in said}

    until(lambda: delivered() == numbers, "all answers", TIMEOUT_S)

    assert sorted(numbers) == sorted(taken(records))
    assert numbers == {one["id"] for one in scene.monitor.json("/crashes")["crashes"]}


def test_an_end_without_a_word_is_reported_by_the_next(scene: Scene) -> None:
    """Another monitor of the same run reports nothing; the next run reports it to log, folder and termination log."""
    scene.begin()
    marker = until(lambda: list(scene.crashes.glob("run-*.json")), "the marker")[0]
    scene.kill()
    scene.again()
    same_run = scene.monitor.json("/crashes")["crashes"]
    scene.kill()
    gone = json.loads(marker.read_text().partition("\n")[0]) | {"launcher_pid": scene.monitor.pid, "start": "1"}
    marker.rename(marker.with_name(f"{marker.stem[:-8]}00000000.json")).write_text(json.dumps(gone) + "\n")
    scene.again()
    (report,) = until(lambda: scene.monitor.json("/crashes")["crashes"], "the report")
    said = scene.monitor.process.wait_event("launcher.incident_reported")

    assert [] == same_run
    assert ("unclean-end", report["id"]) == (report["kind"], said["id"])
    assert str(scene.crashes / f"{report['id']}.json") == said["path"]
    until(lambda: report["title"] in scene.log.read_text(), "the termination log")


def test_an_end_as_it_should_be_is_none(scene: Scene) -> None:
    """The server says that it ends, hears that this was heard, and no marker is left; the last words say how."""
    scene.begin()
    until(lambda: list(scene.crashes.glob("run-*.json")), "the marker")
    scene.monitor.serving(workers=2)
    until(lambda: "serving, 2 of 2 workers ready" in scene.log.read_text(), "the state")
    scene.made.server.send({"event": "launcher.server_ended", "code": 70})

    assert scene.answers("ended")
    assert [] == list(scene.crashes.iterdir())
    assert "asgi-launcher: gave up, exit code 70\n" == scene.log.read_text()
