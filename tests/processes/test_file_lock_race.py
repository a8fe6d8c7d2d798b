"""Does the file lock hold between real processes, and does its ledger stay whole?"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.locks import Owner
from launcher.locks.file_ledger import FileLedger
from support.lock_programs import PROGRAMS
from support.waiting import until

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Spawner

pytestmark = pytest.mark.race

# Thirty at once; whoever is in makes a file that must not be there yet.
RACE = """
import random, sys
from common import *
seed, processes, rounds = map(int, sys.argv[1:])
def contend(rng):
    lock = contender()
    while not Path("go").exists():
        time.sleep(0.001)
    for _ in range(rounds):
        while (held := lock.try_acquire()) is None:
            time.sleep(rng.uniform(0, 0.02))
        os.close(os.open("inside", os.O_CREAT | os.O_EXCL))
        time.sleep(rng.choice([0, 0.0005, 0.002]))
        os.unlink("inside")
        held.release()
        with open("count", "a") as file:
            file.write("x")
children = []
for number in range(processes):
    if (pid := os.fork()) == 0:
        try:
            contend(random.Random(f"{seed}-{number}"))
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    children.append(pid)
Path("go").touch()
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in children))
"""

# Every write replaces the file; the readers look as fast as they can.
REWRITE = """
from common import *
path = Path("a.ledger.json")
def read():
    ledger, seen = FileLedger(path, OWNER), 0
    while not Path("over").exists():
        tokens = [record.token for record in ledger.records()]
        assert tokens == sorted(tokens) and (not tokens or tokens[-1] >= seen), (seen, tokens)
        seen = tokens[-1] if tokens else 0
    os._exit(0)
readers = []
for _ in range(2):
    if (pid := os.fork()) == 0:
        try:
            read()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    readers.append(pid)
ledger = FileLedger(path, OWNER)
for number in range(400):
    ledger.finish(ledger.begin("seed", f"r{number}"), "done", exit_code=0, tail="x" * (number % 50) * 80)
Path("over").touch()
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in readers))
"""

WRITE_FOR_EVER = """
from common import *
ledger = FileLedger(Path("a.ledger.json"), OWNER)
number = 0
while True:
    number += 1
    ledger.finish(ledger.begin("seed", f"r{number}"), "done", exit_code=0, tail="x" * 4000)
"""


@pytest.fixture
def folder(project: MakeProject) -> Path:
    """Return a folder with the programs."""
    return project({**PROGRAMS, "race.py": RACE, "rewrite.py": REWRITE, "write.py": WRITE_FOR_EVER})


@pytest.mark.timeout(120)
def test_never_two_inside(spawn: Spawner, folder: Path) -> None:
    """Thirty processes take the lock a thousand times, and never two have it at once."""
    seed = random.randrange(1 << 32)  # noqa: S311 - nothing secret
    print(f"seed {seed}")  # noqa: T201 - shown by pytest when it fails
    launched = spawn([sys.executable, "race.py", str(seed), "30", "34"], cwd=folder)

    assert launched.wait(100) == 0, str(launched)
    assert 30 * 34 == len((folder / "count").read_text())


def test_a_killed_holder_frees_it(spawn: Spawner, folder: Path) -> None:
    """The kernel gives the lock back when its holder is killed; until then the waiter learns who has it."""
    holder = spawn([sys.executable, "hold.py"], cwd=folder)
    until((folder / "held").exists, "the lock to be held")
    first = spawn([sys.executable, "once.py", "0", ""], cwd=folder)
    first.wait()
    holder.popen.kill()
    holder.wait()
    second = spawn([sys.executable, "once.py", "0", ""], cwd=folder)
    second.wait()

    assert ["busy", "taken"] == [launched.stdout.split()[0] for launched in (first, second)]


@pytest.mark.timeout(120)
def test_readers_never_see_half_a_ledger(spawn: Spawner, folder: Path) -> None:
    """While the holder rewrites the ledger 800 times, each look at it is whole and not older than the one before."""
    launched = spawn([sys.executable, "rewrite.py"], cwd=folder)

    assert launched.wait(100) == 0, str(launched)


@pytest.mark.timeout(90)
def test_a_killed_writer_leaves_a_ledger(spawn: Spawner, folder: Path) -> None:
    """Whenever the writer is killed, the ledger can be read (20 rounds)."""
    seed = random.randrange(1 << 32)  # noqa: S311 - nothing secret
    print(f"seed {seed}")  # noqa: T201 - shown by pytest when it fails
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    path = folder / "a.ledger.json"
    for _ in range(20):
        path.unlink(missing_ok=True)
        launched = spawn([sys.executable, "write.py"], cwd=folder)
        until(path.exists, "the first record")
        try:
            launched.popen.wait(rng.random() * 0.05)
        except subprocess.TimeoutExpired:
            launched.popen.kill()
        launched.wait()

        assert FileLedger(path, Owner(host="here", pid=1, release=None)).records()
