"""Does the file lock hold between real processes, and does its ledger stay whole?"""

from __future__ import annotations

import inspect
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.locks import Owner
from launcher.locks.file_ledger import FileLedger
from launcher.state import check_only_place
from support.waiting import until

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Spawner

COMMON = """
import os, random, signal, sys, time
from pathlib import Path
import filelock, msgspec
from launcher.errors import LauncherError
from launcher.locks import LockContext, Owner
from launcher.locks.file import FileLock
from launcher.locks.file_ledger import FileLedger
OWNER = Owner(host="here", pid=os.getpid(), release=None)
def contender(where=""):
    return FileLock(LockContext(where=where, cwd=Path.cwd(), owner=OWNER, namespace=""))
"""

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

HOLD = """
from common import *
held = contender().try_acquire()
assert held is not None
held.say_step("seed")
Path("held").touch()
time.sleep(300)
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
for number in range(1000):
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

# One try; as another user where one is named: everything has been imported, so that the folder of Python may be closed.
TRY = """
from common import *
import filelock._soft, launcher.state
uid, where = int(sys.argv[1]), sys.argv[2]
if uid:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
try:
    lock = contender(where)
    held = lock.try_acquire()
    print("taken" if held is not None else "busy", type(getattr(held, "_lock", None)).__name__)
    for number in range(3):
        lock.ledger.finish(lock.ledger.begin("seed", f"r{number}"), "done", exit_code=0, tail="x" * 3000)
except LauncherError as error:
    print(f"{type(error).__name__}: {error.message} / {error.cure}")
try:
    print(len(lock.ledger.records()), "records")
except LauncherError as error:
    print(f"{type(error).__name__}: {error.message}")
except NameError:
    pass
"""

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root: another user, or a file system of its own")


@pytest.fixture
def folder(project: MakeProject) -> Path:
    """Return a folder with the programs."""
    programs = {"race": RACE, "hold": HOLD, "rewrite": REWRITE, "write": WRITE_FOR_EVER, "once": TRY, "common": COMMON}
    return project({f"{name}.py": text for name, text in programs.items()})


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
    """While the holder rewrites the ledger 2000 times, each look at it is whole and not older than the one before."""
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


def elsewhere(mount: str) -> list[str]:
    """Return what to put before a command: the working directory is at /mnt, which every user may enter."""
    return ["unshare", "-m", "sh", "-c", f'set -e; mount --bind . /mnt; cd /mnt; {mount}; exec "$@"', "sh"]


def attempt(spawn: Spawner, folder: Path, *, uid: int = 0, where: str = "", mount: str = ":") -> str:
    """Try once in a mount namespace of its own, with the folder at /mnt; return what was said, on one line."""
    launched = spawn([*elsewhere(mount), sys.executable, "once.py", str(uid), where], cwd=folder)

    assert launched.wait() == 0, str(launched)
    return " | ".join(launched.stdout.splitlines())


@as_root
@pytest.mark.parametrize("where", ["place/a.lock", "place/deep/er/a.lock"])
def test_a_read_only_place_is_refused(spawn: Spawner, folder: Path, where: str) -> None:
    """On a read-only file system: one error that names the file and the cure, and no other lock instead."""
    (folder / "place").mkdir()
    said = attempt(spawn, folder, where=where, mount="mount -t tmpfs -o ro none place")

    assert said.startswith(
        f"UsageError: the lock file /mnt/{where} cannot be used: Read-only file system / give --lock file:PATH"
    )


@as_root
def test_a_place_without_a_free_inode_is_refused(spawn: Spawner, folder: Path) -> None:
    """On a full file system: as above."""
    (folder / "place").mkdir()
    said = attempt(spawn, folder, where="place/a.lock", mount="mount -t tmpfs -o nr_inodes=1 none place")

    assert said.startswith("UsageError: the lock file /mnt/place/a.lock cannot be used: No space left on device")


@as_root
def test_a_full_disk_leaves_the_ledger_as_it_was(spawn: Spawner, folder: Path) -> None:
    """When the ledger does not fit (8 KiB), the error says so, and what was recorded before can be read."""
    (folder / "place").mkdir()
    said = attempt(spawn, folder, where="place/a.lock", mount="mount -t tmpfs -o size=8k none place")

    assert said.startswith(
        "taken UnixFileLock | LockNotObtained: step 'seed' ended with exit code 0, but that could not"
    )
    assert "No space left on device" in said
    assert said.endswith("| 2 records")


@as_root
@pytest.mark.parametrize("where", ["place/a.lock", "place/new/a.lock"])
def test_a_place_of_another_user_is_refused(spawn: Spawner, folder: Path, where: str) -> None:
    """Where we may not write: one error with the cure."""
    (folder / "place").mkdir()
    said = attempt(spawn, folder, uid=65534, where=where)

    assert said.startswith(f"UsageError: the lock file /mnt/{where} cannot be used: Permission denied / give --lock")


@as_root
def test_a_lock_file_of_another_user_is_refused(spawn: Spawner, folder: Path) -> None:
    """A lock file that only another user may write: refused, and not waited for."""
    (folder / "place").mkdir()
    (folder / "place" / "a.lock").touch(mode=0o644)
    (folder / "place").chmod(0o777)
    said = attempt(spawn, folder, uid=65534, where="place/a.lock")

    assert said.startswith("UsageError: the lock file /mnt/place/a.lock cannot be used: Permission denied / give")


@as_root
def test_a_state_folder_of_another_user_is_refused(spawn: Spawner, folder: Path) -> None:
    """The project's state folder, made by another user: no second place is chosen, which would be a second lock."""
    (folder / ".launcher").mkdir()
    said = attempt(spawn, folder, uid=65534)

    assert said.startswith("UsageError: /mnt/.launcher cannot be written by uid 65534")


@as_root
def test_a_read_only_project_has_a_private_place(spawn: Spawner, folder: Path) -> None:
    """A read-only project's lock is in a private folder of the temporary directory, the same one for each start."""
    look = "from pathlib import Path; from launcher.state import state_dir; print(state_dir(Path.cwd()))"
    command = [*elsewhere("mount -o remount,ro,bind /mnt; cd /mnt"), sys.executable, "-c", look]
    homes = ("/nowhere", str(folder))
    places = [spawn(command, cwd=folder, env={"HOME": home, "TMPDIR": home}) for home in homes]
    statuses = [launched.wait() for launched in places]
    chosen = {launched.stdout.strip() for launched in places}

    assert [0, 0] == statuses, str(places[0])
    assert 1 == len(chosen)
    assert re.fullmatch(rf"launcher-[0-9a-f]{{16}}-{os.getuid()}", Path(chosen.pop()).name)


# Three users of one project that only root may write: who has a lock keeps it until all have tried.
USERS = """
from common import *
import filelock._soft, launcher.state
reads, writes = os.pipe()
for uid in (4321, 4322, 0):
    if os.fork() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        try:
            lock = contender()
            held = lock.try_acquire()
            os.write(writes, f"{uid} {'busy' if held is None else 'taken'}\\n".encode())
        except LauncherError as error:
            os.write(writes, f"{uid} exit code {error.exit_code}: {error.message}\\n".encode())
        signal.pause()
with open(reads) as said:
    for _ in range(3):
        print(said.readline(), end="", flush=True)
os.killpg(0, signal.SIGKILL)
"""


@as_root
def test_three_users_never_have_two_locks(spawn: Spawner, folder: Path) -> None:
    """Three users start one project at once: at most one has a lock, the others are told why, with exit code 2."""
    (folder / "users.py").write_text(USERS)
    (folder / "app").mkdir()
    needed = [Path(path) for path in (sys.prefix, sys.base_prefix, *sys.path)]  # a clone may lie in /tmp
    places = inspect.signature(check_only_place).parameters["temporary"].default
    hidden = [place for place in places if not any(path.is_relative_to(place) for path in needed)]
    own_tmp = f"for d in {' '.join(hidden)}; do mount -t tmpfs -o mode=1777 none $d; done; cd app"
    command = [*elsewhere(own_tmp), sys.executable, "../users.py"]
    launched = spawn(command, cwd=folder, env={"PYTHONPATH": os.pathsep.join(["/mnt", *sys.path])})
    launched.wait()
    said = launched.stdout.splitlines()

    assert 3 == len(said), str(launched)
    assert sum(line.endswith("taken") for line in said) <= 1, said
    assert [] == [line for line in said if not line.endswith("taken") and "exit code 2: " not in line]
