"""Do the commands for a running launcher find it, wait for it and tell the truth by their exit codes?

The other end is a stand-in; what the monitor itself answers is tested with real pools.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.stand_ins import Host
from support.waiting import until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.spawning import Launch, Spawner

NOT_READY = [503, "[-]workers failed: 0/2 ready, 1 needed\n[+]draining ok\nreadyz check failed\n"]
READY = [200, "[+]workers ok\n[+]draining ok\nreadyz check passed\n"]
CPU_S = 0.100  # issue 5


@pytest.fixture
def host(spawn: Spawner, launch: Launch, tmp_path: Path) -> Host:
    """Return a host where nothing runs."""
    return Host(spawn, launch, tmp_path)


def ended(launched: Launched) -> tuple[int, str, str]:
    """Return how a command ended."""
    return launched.wait(), launched.stdout, launched.stderr


def test_health(host: Host) -> None:
    """The exit code is the answer; -v prints the lines, and what failed is one line on stderr."""
    host.stand_in(answers={"/readyz?verbose": NOT_READY})
    because = "not ready: workers failed: 0/2 ready, 1 needed\n"

    assert (0, "", "") == ended(host.run("health", "live"))
    assert (1, "", because) == ended(host.run("health"))
    assert (1, NOT_READY[1], because) == ended(host.run("health", "ready", "-v"))
    assert (1, "", "not started: the launcher answered 404\n") == ended(host.run("health", "startup"))


@pytest.mark.parametrize(
    "words", [("health",), ("health", "live"), ("status",), ("reload",), ("scale", "2"), ("stop",)]
)
def test_nothing_runs(host: Host, words: tuple[str, ...]) -> None:
    """Where nothing runs, every command says so and exits with 1."""
    code, stdout, stderr = ended(host.run(*words))

    assert (1, "") == (code, stdout)
    assert "no launcher runs" in stderr.splitlines()[0]


@pytest.mark.parametrize(
    "words", [("--help",), ("nope",), ("--pid", "x"), ("live", "ready"), ("--socket", "a", "--pid", "1")]
)
def test_health_leaves_the_rest_to_click(host: Host, words: tuple[str, ...]) -> None:
    """Help is help and a mistake a mistake, although the usual words go without click."""
    code, stdout, stderr = ended(host.run("health", *words))

    assert (0 if words == ("--help",) else 2) == code
    assert "launcher health" in stdout + stderr


def test_health_is_cheap(host: Host) -> None:
    """A probe takes at most 100 ms of CPU, the median of seven, and imports neither click nor the settings."""
    host.stand_in(answers={"/readyz?verbose": READY})
    argv = [sys.executable, "-X", "importtime", "-m", "launcher", "health"]
    env = {"PATH": os.environ["PATH"], **host.env}
    imported = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stderr
    taken = sorted(cpu_s([sys.executable, "-m", "launcher", "health"], env) for _ in range(7))

    assert taken[3] <= CPU_S
    assert "launcher.instances" in imported
    assert not {"click", "launcher.settings", "json", "rich"} & {
        line.split("|")[-1].strip() for line in imported.splitlines()
    }


def cpu_s(argv: list[str], env: dict[str, str]) -> float:
    """Return user and system time of a command that succeeds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env=env, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_monitor_that_starts_again(host: Host) -> None:
    """Connections that break are made again: a monitor that was killed is back in a moment."""
    started = host.stand_in(answers={"/readyz?verbose": READY}, breaks=4)

    assert (0, "", "") == ended(host.run("health"))
    assert started.running


def test_one_that_does_not_answer(host: Host) -> None:
    """A launcher that accepts nothing is not healthy, after a time that is limited."""
    host.stand_in(deaf=True)
    before = time.monotonic()
    code, _, stderr = ended(host.run("health"))

    assert (1, "not ready: the launcher does not answer: timed out\n") == (code, stderr)
    assert time.monotonic() - before < 15


def test_status(host: Host) -> None:
    """`--json` is what the monitor wrote, and the text has its workers."""
    document = {"workers": [{"pid": 11, "slot": 0, "stage": "ready"}], "ready": 1, "wanted": 1, "état": "é"}
    started = host.stand_in(status=document)
    said = json.loads(host.run("status", "--json").stdout)
    code, stdout, _ = ended(host.run("status"))

    assert {"pid": started.pid, "app": "main:app", "cwd": str(host.folder), **document} == said
    assert code == 0
    assert f"main:app (pid {started.pid})" in stdout
    assert ["0", "11", "ready"] == stdout.splitlines()[-2].split()[:3]


def test_several_are_told_apart(host: Host, tmp_path: Path) -> None:
    """Two are told apart by the working directory, --pid and --socket; elsewhere both are listed, with exit code 2."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first, second = (host.stand_in(folder) for folder in folders)
    pid, address = str(second.pid), second.stdout.strip()
    told = host.run("status")
    probe = host.run("health", "live")

    assert first.pid == json.loads(host.run("status", "--json", cwd=folders[0]).stdout)["pid"]
    for words in (("--pid", pid), ("--socket", address)):
        assert second.pid == json.loads(host.run("status", "--json", *words, cwd=folders[0]).stdout)["pid"]
    assert (told.wait(), probe.wait()) == (2, 1)
    for started, folder in zip((first, second), folders, strict=True):
        assert f"--pid {started.pid}  main:app  in {folder}" in told.stderr
        assert f"--pid {started.pid}  main:app  in {folder}" in probe.stderr
    assert len(probe.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("reload",), "/reload {}"),
        (("scale", "3"), '/scale {"workers": 3}'),
        (("recycle", "77"), '/recycle {"pid": 77}'),
    ],
)
@pytest.mark.parametrize("outcome", [(0, ""), (3, "no new worker became ready"), (2, "not now")])
def test_outcomes(host: Host, words: tuple[str, ...], line: str, outcome: tuple[int, str]) -> None:
    """A command waits for the outcome, exits with its code and says its reason on stderr."""
    started = host.stand_in(outcome=outcome, after_s=0.5)
    code, because = outcome

    assert (code, "", f"{because}\n" if because else "") == ended(host.run(*words))
    assert line == started.stdout.splitlines()[1]


def test_ending_the_wait(host: Host) -> None:
    """Ctrl+C ends the waiting with 130, says so, and ends nothing else."""
    started = host.stand_in(after_s=60)
    waiting = host.begin("reload")
    until(lambda: "/reload" in started.stdout, "the ask", 20)
    waiting.signal(signal.SIGINT)

    assert (130, "", "not waiting any more; what was asked for goes on\n") == ended(waiting)
    assert started.running


def test_an_outcome_that_nobody_tells(host: Host) -> None:
    """When the launcher is killed meanwhile, the command ends with 1 and tells where to look."""
    started = host.stand_in(after_s=60)
    waiting = host.begin("reload")
    until(lambda: "/reload" in started.stdout, "the ask", 20)
    started.signal(signal.SIGKILL)
    code, _, stderr = ended(waiting)

    assert code == 1
    assert "without an answer" in stderr or "reset" in stderr
    assert "launcher status" in stderr


@pytest.mark.parametrize("words", [("stop",), ("stop", "--quick")], ids=" ".join)
def test_stop_waits_for_the_end(host: Host, words: tuple[str, ...]) -> None:
    """`stop` returns 0 when the process has gone, and not before."""
    started = host.stand_in(stops_after_s=1.0)
    code, _, stderr = ended(host.run(*words))
    line = f'/stop {{"quick": {"true" if "--quick" in words else "false"}}}'

    assert (0, "") == (code, stderr)
    assert not started.running
    assert line == started.stdout.splitlines()[1]
    assert 1 == host.run("health", "live").wait()
    assert list(host.runtime_dir.iterdir()) == []


def test_stop_is_refused(host: Host) -> None:
    """What the pool refuses is told, and nobody waits for it."""
    started = host.stand_in(outcome=[1, "the server does not listen"])

    assert (1, "", "the server does not listen\n") == ended(host.run("stop"))
    assert started.running
