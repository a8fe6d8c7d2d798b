"""What does the file lock do in a place that is full, read-only, private, somebody else's, or cleaned up?"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from launcher.errors import ExitCode
from launcher.state import check_only_place
from support.lock_programs import PROGRAMS
from support.namespaces import needs_namespaces
from support.reaping import alive
from support.waiting import until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.projects import MakeProject
    from support.spawning import Launch, Spawner


@pytest.fixture
def folder(project: MakeProject) -> Path:
    """Return a folder with the programs."""
    return project(PROGRAMS)


def elsewhere(mount: str) -> list[str]:
    """Return what to put before a command: the working directory is at /mnt, which every user may enter."""
    return ["unshare", "-m", "sh", "-c", f'set -e; mount --bind . /mnt; cd /mnt; {mount}; exec "$@"', "sh"]


def attempt(spawn: Spawner, folder: Path, *, uid: int = 0, where: str = "", mount: str = ":") -> str:
    """Try once in a mount namespace of its own, with the folder at /mnt; return what was said, on one line."""
    launched = spawn([*elsewhere(mount), sys.executable, "once.py", str(uid), where], cwd=folder)

    assert launched.wait() == 0, str(launched)
    return " | ".join(launched.stdout.splitlines())


@needs_namespaces
@pytest.mark.parametrize(
    ("where", "file"),
    [
        ("place/a.lock", "place/a.lock"),
        ("place/deep/er/a.lock", "place/deep/er/a.lock"),
        ("sqlite:///place/app.db", "place/app.db.launcher.lock"),
    ],
)
def test_a_read_only_place_is_refused(spawn: Spawner, folder: Path, where: str, file: str) -> None:
    """On a read-only file system: one error that names the file and the cure, and no other lock instead."""
    (folder / "place").mkdir()
    said = attempt(spawn, folder, where=where, mount="mount -t tmpfs -o ro none place")

    assert said.startswith(
        f"UsageError: the lock file /mnt/{file} cannot be used: Read-only file system / give --lock file:PATH"
    )


@needs_namespaces
def test_a_place_without_a_free_inode_is_refused(spawn: Spawner, folder: Path) -> None:
    """On a full file system: as above."""
    (folder / "place").mkdir()
    said = attempt(spawn, folder, where="place/a.lock", mount="mount -t tmpfs -o nr_inodes=1 none place")

    assert said.startswith("UsageError: the lock file /mnt/place/a.lock cannot be used: No space left on device")


@needs_namespaces
@pytest.mark.parametrize("where", ["place/a.lock", "sqlite:///place/app.db"])
@pytest.mark.parametrize(("size", "left"), [("4k", "1 records"), ("8k", "2 records")])
def test_a_full_disk_leaves_the_ledger_as_it_was(
    spawn: Spawner, folder: Path, where: str, size: str, left: str
) -> None:
    """When the ledger does not fit, the error says so, and what was recorded before can be read."""
    (folder / "place").mkdir()
    said = attempt(spawn, folder, where=where, mount=f"mount -t tmpfs -o size={size} none place")

    assert said.startswith(
        "taken UnixFileLock | LockNotObtained: step 'seed' ended with exit code 0, but that could not"
    )
    assert "No space left on device" in said
    assert said.endswith(f"| {left}")


@needs_namespaces
@pytest.mark.parametrize(
    ("where", "file"),
    [
        ("place/a.lock", "place/a.lock"),
        ("place/new/a.lock", "place/new/a.lock"),
        ("sqlite:///place/app.db", "place/app.db.launcher.lock"),
    ],
)
def test_a_place_of_another_user_is_refused(spawn: Spawner, folder: Path, where: str, file: str) -> None:
    """Where we may not write: one error with the cure."""
    (folder / "place").mkdir()
    said = attempt(spawn, folder, uid=65534, where=where)

    assert said.startswith(f"UsageError: the lock file /mnt/{file} cannot be used: Permission denied / give --lock")


@needs_namespaces
def test_a_lock_file_of_another_user_is_refused(spawn: Spawner, folder: Path) -> None:
    """A lock file that only another user may write: refused, and not waited for."""
    (folder / "place").mkdir()
    (folder / "place" / "a.lock").touch(mode=0o644)
    (folder / "place").chmod(0o777)
    said = attempt(spawn, folder, uid=65534, where="place/a.lock")

    assert said.startswith("UsageError: the lock file /mnt/place/a.lock cannot be used: Permission denied / give")


def hold(spawn: Spawner, folder: Path, where: str, how: str = "", mount: str = ":", sign: str = "held") -> Launched:
    """Start a holder in a mount namespace of its own and return it when it has the lock."""
    holder = spawn([*elsewhere(mount), sys.executable, "hold.py", where, sign, how], cwd=folder, allow_strays=True)
    until((folder / sign).exists, "the lock to be held")
    return holder


@needs_namespaces
@pytest.mark.parametrize("where", ["place/a.lock", "sqlite:///place/app.db"])
@pytest.mark.parametrize(("mount", "second"), [(":", "busy"), ("mount -t tmpfs none place", "taken")])
def test_a_private_mount_is_a_lock_of_its_own(
    spawn: Spawner, folder: Path, where: str, mount: str, second: str
) -> None:
    """In a folder mounted for one alone nothing is locked for the others, whom the same path in common keeps out.

    Two containers, each with its own /tmp: nobody can see it from inside, so the log says how far such a lock reaches.
    """
    (folder / "place").mkdir()
    hold(spawn, folder, where, mount=mount)

    assert attempt(spawn, folder, where=where, mount=mount).startswith(f"{second} ")


@needs_namespaces
@pytest.mark.parametrize(
    ("how", "after"),
    [("inherited", "busy"), ("forked", "taken"), ("closed", "taken")],
)
def test_whoever_has_the_descriptor_has_the_lock(spawn: Spawner, folder: Path, how: str, after: str) -> None:
    """A child that was given the descriptor keeps the lock when its holder is killed; one only forked off does not."""
    holder = hold(spawn, folder, "a.lock", how)
    [child] = psutil.Process(holder.pid).children()
    held = attempt(spawn, folder, where="a.lock")
    holder.popen.kill()
    holder.wait()
    orphaned = attempt(spawn, folder, where="a.lock")
    child.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")

    assert held.startswith("busy ")
    assert orphaned.startswith(f"{after} ")
    assert attempt(spawn, folder, where="a.lock").startswith("taken ")


@needs_namespaces
def test_an_unlinked_file_is_a_second_lock(spawn: Spawner, folder: Path) -> None:
    """When a cleaner removes the file of a holder, another gets a lock: that cannot be prevented, and is noticed."""
    hold(spawn, folder, "a.lock")
    (folder / "a.lock").unlink()

    assert attempt(spawn, folder, where="a.lock").startswith("taken ")


def test_a_step_without_its_lock_file_is_killed(launch: Launch, spawn: Spawner, project: MakeProject) -> None:
    """A step whose lock file is removed does not go on beside the next: it is killed, exit code 75, and not done."""
    folder = project({"launcher.toml": '[[prestart]]\nname = "seed"\nrun = "rm my.lock; sleep 300"\n'})
    launched = launch("prestart", "--lock", "file:my.lock", "--release", "r1", cwd=folder)

    assert launched.wait(40) == ExitCode.LOCK_NOT_OBTAINED, str(launched)
    assert "was lost: its file has been removed" in launched.stderr
    assert alive([], spawn.mark) == []
    assert "done" not in {record["state"] for record in json.loads((folder / "my.ledger.json").read_text())["records"]}


@needs_namespaces
def test_a_database_file_mounted_alone_is_told(spawn: Spawner, folder: Path) -> None:
    """Where only the database file is shared and not its folder, the lock says that it reaches nobody else."""
    (folder / "app.db").touch()
    look = "from common import *; print(contender('sqlite:///app.db').warning)"
    alone = spawn([*elsewhere("mount --bind app.db app.db"), sys.executable, "-c", look], cwd=folder)

    assert alone.wait() == 0, str(alone)
    assert "/mnt/app.db is mounted without its folder" in alone.stdout


@needs_namespaces
def test_a_state_folder_of_another_user_is_refused(spawn: Spawner, folder: Path) -> None:
    """The project's state folder, made by another user: no second place is chosen, which would be a second lock."""
    (folder / ".launcher").mkdir()
    said = attempt(spawn, folder, uid=65534)

    assert said.startswith("UsageError: /mnt/.launcher cannot be written by uid 65534")


@needs_namespaces
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


@needs_namespaces
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
