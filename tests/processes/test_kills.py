"""Does nothing run twice at the same time, whoever is killed when?

Every process of a step beats in a journal: when it lived is what it says itself, also of one that was killed.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from support.commands import APPENDS, JOURNAL, journal, ledger, times, toml
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.commands import Entry
    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = [
    pytest.mark.race,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard's promise to daemons is Linux's"),
]
TOGETHER = 10
STORMS = 12
CONTENDERS = 4

# Traps TERM, and has a daemon in a session of its own; each member of the tree beats every 5 ms under its own name.
# Only with `go` there does it end by itself.
TREE = """
import os, signal, sys, time
from journal import write

signal.signal(signal.SIGTERM, signal.SIG_IGN)
attempt = os.environ["LAUNCHER_STEP_ATTEMPT"]
write("start", f"{attempt}.0")
for member in (1, 2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                write("beat", f"{attempt}.{member}")
                time.sleep(0.005)
        os._exit(0)
while not os.path.exists("go"):
    write("beat", f"{attempt}.0")
    time.sleep(0.005)
write("end", f"{attempt}.0")
"""
# A short body that beats from its beginning to its end.
BODY = """
import time
from journal import write

write("start")
for _ in range(30):
    time.sleep(0.005)
    write("beat")
write("end")
"""
STEP = 'name = "tree"\nrun = ["{python}", "-S", "step.py"]'


def attempts(entries: list[Entry]) -> dict[int, tuple[int, int]]:
    """Return first and last sign of life of each attempt's whole tree, in nanoseconds."""
    spans: dict[int, tuple[int, int]] = {}
    for entry in entries:
        number = int(entry.who.partition(".")[0])
        first, last = spans.get(number, (entry.at, entry.at))
        spans[number] = min(first, entry.at), max(last, entry.at)
    return spans


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_in_the_middle_of_a_step(launch: Launch, project: MakeProject, seed: int) -> None:
    """A waiter's step begins after the last sign of life of the killed holder's tree, and is the second attempt."""
    pause = random.Random(seed).randrange(3, 60)  # noqa: S311 - to be repeated, not to be secret
    folder = project({"journal.py": JOURNAL, "step.py": TREE, "launcher.toml": toml(STEP)})
    first = launch("prestart", cwd=folder)
    until(lambda: {"1.0", "1.1", "1.2"} <= {entry.who for entry in journal(folder)}, "the whole tree")
    second = launch("prestart", cwd=folder)
    second.wait_event("launcher.lock_busy")
    beats = len(journal(folder))
    until(lambda: len(journal(folder)) >= beats + pause, "some beats more")
    first.popen.kill()
    until(lambda: any(entry.who == "2.0" for entry in journal(folder)), "the second attempt", 20)
    (folder / "go").touch()
    assert second.wait() == 0, second
    spans = attempts(journal(folder))

    assert [1, 2] == sorted(spans)
    assert spans[1][1] < spans[2][0]
    assert [(record["state"], record["attempt"]) for record in ledger(folder)] == [("done", 2)]


def test_many_launchers_one_run(launch: Launch, project: MakeProject) -> None:
    """Of ten started together one runs the step, the others skip it, and all end well."""
    step = toml('name = "seed"\nrun = "{python} -S seed.py"')
    folder = project({"seed.py": APPENDS, "launcher.toml": step})
    started = [launch("prestart", cwd=folder) for _ in range(TOGETHER)]
    statuses = [launched.wait() for launched in started]

    assert statuses == [0] * TOGETHER
    assert times(folder) == 1
    assert 1 == sum(launched.event("launcher.step_started") is not None for launched in started)


def victims(rng: random.Random, contenders: list[Launched]) -> list[Launched]:
    """Return all but one of the contenders, in the order they are to be killed: somebody has to be left."""
    return rng.sample(contenders, rng.randrange(1, len(contenders)))


def moment(folder: Path, launched: Launched, state: str) -> bool:
    """Tell whether a contender is where it is to be killed, or beyond."""
    if not launched.running or any(entry.what == "end" for entry in journal(folder)):
        return True
    match state:
        case "started":
            return bool(launched.children())
        case "in a body":
            return bool(journal(folder))
        case "waiting":
            return launched.event("launcher.lock_busy") is not None
        case _:
            return True


@pytest.mark.timeout(120)
def test_kill_9_storms(launch: Launch, project: MakeProject) -> None:
    """Whoever of four is killed in whatever moment: no two bodies at the same time, and in the end one is done."""
    for seed in range(STORMS):
        rng = random.Random(seed)  # noqa: S311 - as above
        often = STEP + "\nattempts = 50"  # a storm is no reason to think that the step is at fault
        files = {"journal.py": JOURNAL, "step.py": BODY, "launcher.toml": toml(often)}
        folder = project(files, f"storm-{seed}")
        contenders = [launch("prestart", cwd=folder) for _ in range(CONTENDERS)]
        for victim in victims(rng, contenders):
            state = rng.choice(["started", "in a body", "waiting", "at once"])
            with contextlib.suppress(AssertionError):  # a moment that does not come is one too
                until(lambda: moment(folder, victim, state), state, 1)  # noqa: B023 - called at once
            victim.popen.kill()
        statuses = {launched.wait() for launched in contenders}
        entries = journal(folder)
        bodies = [who for who, _ in itertools.groupby(entry.who for entry in entries)]

        assert statuses <= {0, -signal.SIGKILL}, (seed, [str(one) for one in contenders])
        assert len(bodies) == len(set(bodies)), (seed, entries)  # each body's beats stand together
        assert entries[-1].what == "end", (seed, entries)
        assert [record["state"] for record in ledger(folder)] == ["done"], seed
