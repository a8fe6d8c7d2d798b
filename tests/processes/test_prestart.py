"""Do the steps run when they should, and only then?"""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from support.alembic_projects import alembic_project
from support.alembic_starts import rows
from support.commands import APPENDS, JOURNAL, answers, error_of, journal, ledger, serving, times, toml
from support.serving import APP
from support.waiting import free_port, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch

# Runs until the file `go` is there.
HELD = """
import os, signal, time
from journal import write

write("start")
while not os.path.exists("go"):
    time.sleep(0.01)
write("end")
"""
FILES = {"main.py": APP, "seed.py": APPENDS, "journal.py": JOURNAL, "held.py": HELD}
SEED = 'name = "seed"\nrun = "{python} seed.py"'
HOLD = 'name = "hold"\nrun = "{python} held.py"'


def prestart(launch: Launch, folder: Path, *words: str) -> Launched:
    """Return a `launcher prestart` that has ended well."""
    launched = launch("prestart", *words, cwd=folder)
    assert launched.wait() == 0, launched
    return launched


def holding(launch: Launch, folder: Path, *words: str) -> Launched:
    """Return a launcher in the middle of a step."""
    launched = launch("prestart", *words, cwd=folder)
    until(lambda: journal(folder), "the step")
    return launched


def test_prestart_starts_no_server(launch: Launch, project: MakeProject) -> None:
    """It does the steps and exits with 0: no address is bound, no server is executed, no application is needed."""
    folder = project({"seed.py": APPENDS, "launcher.toml": toml(SEED)})
    launched = prestart(launch, folder)

    assert times(folder) == 1
    assert {"launcher.address_bound", "launcher.handed_over"}.isdisjoint(one["event"] for one in launched.events)


# Of starts in the releases r1, r1, r2, r1 again: how often has the step run after each?
RUNS = {
    "start": [1, 2, 3, 4],
    "release": [1, 1, 2, 2],
    "database": [1, 1, 1, 1],
    "replica": [1, 2, 3, 4],
    "content": [1, 1, 2, 2],
}


@pytest.mark.parametrize(("once_per", "runs"), RUNS.items(), ids=RUNS)
def test_once_per(launch: Launch, project: MakeProject, once_per: str, runs: list[int]) -> None:
    """Through two releases and back a step runs as the table says: what was done in a release stays done."""
    step = SEED + f'\nonce_per = "{once_per}"' + '\nfiles = ["seeds/**"]' * (once_per == "content")
    folder = project(FILES | {"launcher.toml": toml(step), "seeds/a.csv": ""})
    seen = []
    for release in ("r1", "r1", "r2", "r1"):
        (folder / "seeds" / "a.csv").write_text(release)
        prestart(launch, folder, "--release", release)
        seen.append(times(folder))

    assert seen == runs
    assert (folder / ".launcher").exists() == (once_per != "replica")


def test_the_release_is_the_source(launch: Launch, project: MakeProject) -> None:
    """Without a release id a change of the application's source is a new release, and going back is the old one."""
    folder = project(FILES | {"launcher.toml": toml(SEED)})
    seen = []
    for text in (APP, APP, APP + "# changed\n", APP):
        (folder / "main.py").write_text(text)
        prestart(launch, folder)
        seen.append(times(folder))

    assert seen == [1, 1, 2, 2]


def test_mode_off(launch: Launch, project: MakeProject) -> None:
    """`off` serves without having done anything."""
    folder = project(FILES | {"launcher.toml": toml(SEED)})
    port = free_port()
    launched = launch("run", "--prestart", "off", "--workers", "1", "--port", str(port), cwd=folder)
    serving(launched, port)

    assert times(folder) == 0
    assert not (folder / ".launcher").exists()


def test_mode_check(launch: Launch, project: MakeProject) -> None:
    """`check` refuses with 10 what is not done, and serves once it is."""
    folder = project(FILES | {"launcher.toml": toml(SEED)})
    refused = launch("run", "--prestart", "check", "--port", str(free_port()), cwd=folder)
    assert refused.wait() == 10, refused
    assert times(folder) == 0
    prestart(launch, folder)
    port = free_port()
    launched = launch("run", "--prestart", "check", "--workers", "1", "--port", str(port), cwd=folder)
    serving(launched, port)

    assert "seed" in error_of(refused)
    assert times(folder) == 1


@pytest.mark.parametrize("kind", ["run", "alembic"])
def test_mode_wait_ends_when_it_is_done(launch: Launch, project: MakeProject, kind: str) -> None:
    """`wait` serves as soon as somebody else has done the steps, and does none itself."""
    files = alembic_project() if kind == "alembic" else {"launcher.toml": toml(SEED)}
    folder = project(FILES | files)
    port = free_port()
    launched = launch("run", "--prestart", "wait", "--workers", "1", "--port", str(port), cwd=folder)
    launched.wait_event("launcher.steps_awaited")
    assert not answers(port)
    prestart(launch, folder)
    serving(launched, port)

    assert launched.event("launcher.step_started") is None
    assert times(folder) == 1 if kind == "run" else {"r2"} == rows(folder / "app.db")


def test_mode_wait_in_vain(launch: Launch, project: MakeProject) -> None:
    """75 when nobody has done it within --lock-timeout, naming what is missing."""
    folder = project(FILES | {"launcher.toml": toml(SEED)})
    words = ("--prestart", "wait", "--lock-timeout", "1s", "--port", str(free_port()))
    launched = launch("run", *words, cwd=folder)

    assert launched.wait() == 75
    assert [word for word in ("1s", "seed") if word not in error_of(launched)] == []
    assert times(folder) == 0


def test_what_can_never_be_waited_for(launch: Launch, project: MakeProject) -> None:
    """`wait` for a step that runs at each start and leaves no sign is refused with 2 rather than waited for."""
    folder = project(FILES | {"launcher.toml": toml(SEED + '\nonce_per = "start"')})
    launched = launch("run", "--prestart", "wait", "--port", str(free_port()), cwd=folder)

    assert launched.wait() == 2
    assert "seed" in error_of(launched)


def test_a_waiter_says_for_whom(launch: Launch, project: MakeProject) -> None:
    """At once, with the holder's host, pid, release, step and age; afterwards it finds the work done."""
    folder = project(FILES | {"launcher.toml": toml(HOLD)})
    holder = holding(launch, folder, "--release", "r7")
    waiter = launch("prestart", "--release", "r7", cwd=folder)
    said = str(waiter.wait_event("launcher.lock_busy")["holder"])
    (folder / "go").touch()
    statuses = holder.wait(), waiter.wait()
    wanted = (os.uname().nodename, f"pid {holder.pid}", "release r7", "'hold'")

    assert [word for word in wanted if word not in said] == []
    assert re.search(r"for [\d.]+ ?m?s", said), said
    assert statuses == (0, 0)
    assert [entry.what for entry in journal(folder)] == ["start", "end"]


def test_lock_timeout(launch: Launch, project: MakeProject) -> None:
    """75 when the lock is not free in time, naming the holder; the holder goes on."""
    folder = project(FILES | {"launcher.toml": toml(HOLD)})
    holder = holding(launch, folder)
    waiter = launch("run", "--lock-timeout", "1s", "--port", str(free_port()), cwd=folder)
    code = waiter.wait()
    (folder / "go").touch()

    assert code == 75
    assert [word for word in ("1s", f"pid {holder.pid}", "'hold'") if word not in error_of(waiter)] == []
    assert holder.wait() == 0


def test_an_interrupted_step_is_done_again(launch: Launch, project: MakeProject) -> None:
    """After TERM in the middle of a step the ledger does not say done, and the next start's attempt is the second."""
    folder = project(FILES | {"launcher.toml": toml(HOLD)})
    first = holding(launch, folder)
    first.signal(signal.SIGTERM)
    first.wait()
    states = [record["state"] for record in ledger(folder)]
    (folder / "go").touch()
    prestart(launch, folder)

    assert states == ["failed"]
    assert [(record["state"], record["attempt"]) for record in ledger(folder)] == [("done", 2)]


def test_nothing_to_do_takes_no_lock(launch: Launch, project: MakeProject) -> None:
    """While somebody holds the lock, a start with nothing to do goes by; alembic at head is asked, not run."""
    folder = project(FILES | alembic_project())
    prestart(launch, folder)
    (folder / "launcher.toml").write_text(toml(HOLD))
    holding(launch, folder, "--lock", "file:.launcher/prestart.lock")
    (folder / "launcher.toml").unlink()
    port = free_port()
    launched = launch("run", "--workers", "1", "--port", str(port), cwd=folder)
    serving(launched, port)
    (folder / "go").touch()

    assert launched.event("launcher.lock_busy") is None
    assert launched.event("launcher.lock_acquired") is None
