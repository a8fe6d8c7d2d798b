"""Is a fleet that starts on an empty database migrated exactly once, where a plain entrypoint script is not?"""

from __future__ import annotations

import re
import shutil
import signal
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.launched import http_get
from support.waiting import free_port, until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.spawning import Launch, Spawner

pytestmark = pytest.mark.race

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi-alembic"
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", ".*_cache", ".launcher", "*.db", "*.db-*")
REVISIONS = ("0001_users", "0002_items", "0003_items_by_owner", "0004_seeded_items")
FLEET = 20
FLEET_TIMEOUT_S = 150  # twenty starts of FastAPI cost some 40 s of one core
SEEDED = re.compile(r"seeded \d+ items")  # what app/seed.py prints
CONTROL_FLEET = 4
MEETS_WITHIN_S = 30.0
COLLISIONS = ("already exists", "database is locked", "UNIQUE constraint failed")  # SQLite's words

# Every migration writes down who began it, and takes the time that one on a table with rows takes; in the control the
# first one to begin takes it until a second one has begun too, or, when the others have failed instead, for a while.
JOURNAL = '''
"""Who began which migration?"""
import os
import time
from pathlib import Path

def journaled(revision, upgrade):
    def wrapped():
        line = f"{revision} {os.getpid()}\\n".encode()
        file = os.open(Path(__file__).with_name("journal"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line)  # one write of a short line is not torn apart
        os.close(file)
        time.sleep(0.3)
        meets = time.monotonic() + float(os.environ.get("MEETS_WITHIN_S", "0"))
        while time.monotonic() < meets and Path(__file__).with_name("journal").read_text().count(revision) < 2:
            time.sleep(0.02)
        upgrade()
    return wrapped
'''
JOURNALED = "\n\nfrom journal import journaled\nupgrade = journaled(revision, upgrade)\n"


def journaled_example(folder: Path) -> Path:
    """Return a copy of the example without a database, whose migrations keep a journal."""
    shutil.copytree(EXAMPLE, folder, ignore=LEFT_BEHIND)
    (folder / "journal.py").write_text(textwrap.dedent(JOURNAL))
    for path in (folder / "migrations" / "versions").glob("*.py"):
        path.write_text(path.read_text() + JOURNALED)
    return folder


def begun(folder: Path) -> list[str]:
    """Return the revisions that were begun, in this order, as often as they were."""
    journal = folder / "journal"
    return [line.split()[0] for line in journal.read_text().splitlines()] if journal.exists() else []


def wait_served(fleet: dict[int, Launched], timeout_s: float) -> dict[int, str]:
    """Return what each port answers once each has answered 200; AssertionError when a process has ended before."""
    answers: dict[int, str] = {}

    def all_served() -> bool:
        for port in fleet.keys() - answers.keys():
            assert fleet[port].running, f"ended before it served: {fleet[port]}"
            if (answer := http_get(port)) is not None and answer[0] == 200:
                answers[port] = answer[1]
        return len(answers) == len(fleet)

    until(all_served, "every port to answer 200", timeout_s)
    return answers


def stop_all(fleet: dict[int, Launched]) -> list[int]:
    """Send TERM to all of them at once; return their exit statuses."""
    for launched in fleet.values():
        launched.signal(signal.SIGTERM)
    return [launched.wait(60) for launched in fleet.values()]


@pytest.mark.timeout(FLEET_TIMEOUT_S + 90)
@pytest.mark.xdist_group("fleet")
def test_twenty_launchers_migrate_once_and_all_serve(launch: Launch, tmp_path: Path) -> None:
    """Twenty at once on an empty database: each migration and the seed run once, and all twenty serve and end well."""
    folder = journaled_example(tmp_path / "example")
    ports = distinct_ports(FLEET)
    fleet = {port: launch("run", "--workers", "1", "--port", str(port), cwd=folder) for port in ports}
    answers = wait_served(fleet, FLEET_TIMEOUT_S)
    statuses = stop_all(fleet)
    seeds = [line for launched in fleet.values() for line in SEEDED.findall(launched.stdout + launched.stderr)]

    assert begun(folder) == list(REVISIONS)
    assert set(answers.values()) == {'{"items":3,"seeded":3}'}
    assert statuses == [0] * FLEET
    assert seeds == ["seeded 3 items"]


SCRIPT = (
    "alembic upgrade head && exec gunicorn -k uvicorn_worker.UvicornWorker -w 1 -b 127.0.0.1:{port} "
    "--no-control-socket app.main:app"
)


@pytest.mark.timeout(180)
@pytest.mark.xdist_group("fleet")
def test_plain_script_migrates_twice_or_fails(spawn: Spawner, tmp_path: Path) -> None:
    """The control: without the launcher the same project shows the race, so the test above could have failed."""
    folder = journaled_example(tmp_path / "example")
    ports = distinct_ports(CONTROL_FLEET)
    env = {"MEETS_WITHIN_S": str(MEETS_WITHIN_S)}
    scripts = [
        spawn(["bash", "-c", SCRIPT.format(port=port)], cwd=folder, env=env, allow_strays=True) for port in ports
    ]
    fleet = dict(zip(ports, scripts, strict=True))
    until(lambda: begun_twice(folder) or collisions(fleet), "a conflict", 3 * MEETS_WITHIN_S)


def begun_twice(folder: Path) -> list[str]:
    """Return the revisions that were begun more than once."""
    return [revision for revision, times in Counter(begun(folder)).items() if times > 1]


def collisions(fleet: dict[int, Launched]) -> list[str]:
    """Return SQLite's words for what went wrong."""
    return [word for launched in fleet.values() for word in COLLISIONS if word in launched.stderr]


def distinct_ports(count: int) -> list[int]:
    """Return this many free ports, none twice."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return sorted(ports)
