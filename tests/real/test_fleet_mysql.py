"""Does a start meet the others in a real MariaDB, by the command line alone?"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from support.alembic_projects import ASYNC_ENV, SYNC_ENV, alembic_project
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.mariadb import MariaDB
    from support.projects import MakeProject
    from support.spawning import Launch

pytestmark = pytest.mark.timeout(120)
SEED = "import os, pathlib\npathlib.Path('seeded').open('a').write(os.environ['LAUNCHER_STEP_TOKEN'] + '\\n')\n"
SLOW = "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)\n"


def steps(script: str, *, alembic: bool = True) -> str:
    """Return the settings: the migrations, and a script once for a release."""
    migrate = '[[prestart]]\nname = "migrate"\nalembic = "alembic.ini"\n' if alembic else ""
    return f'{migrate}[[prestart]]\nname = "seed"\nrun = ["{sys.executable}", "{script}"]\n'


def all_of(fleet: list[Launched], event: str) -> list[Launched]:
    """Return the members that wrote an event."""
    return [launched for launched in fleet if launched.event(event) is not None]


@pytest.mark.parametrize(
    ("driver", "env"), [("pymysql", SYNC_ENV), ("mysqldb", SYNC_ENV), ("aiomysql", ASYNC_ENV), ("asyncmy", ASYNC_ENV)]
)
def test_six_at_once_migrate_once(
    launch: Launch, project: MakeProject, mariadb: MariaDB, driver: str, env: str
) -> None:
    """`--lock auto` locks in the database that env.py names: one migrates and seeds, five see that it is done."""
    url = mariadb.url(f"fleet_{driver}", driver)
    folder = project(alembic_project(env) | {"seed.py": SEED, "launcher.toml": steps("seed.py")})
    fleet = [launch("prestart", "--release", "r1", cwd=folder, env={"DATABASE_URL": url}) for _ in range(6)]
    codes = [launched.wait(60) for launched in fleet]
    again = launch("prestart", "--release", "r1", cwd=folder, env={"DATABASE_URL": url})

    assert [0] * 6 == codes, [str(launched) for launched in fleet if launched.popen.returncode]
    assert [2] == [
        str(launched.stderr).count('"launcher.step_done"') for launched in all_of(fleet, "launcher.step_done")
    ]
    assert "1\n" == (folder / "seeded").read_text()
    assert 0 == again.wait()
    assert again.event("launcher.lock_acquired") is None


def test_a_successor_waits_until_the_step_of_a_dead_holder_is_gone(
    launch: Launch, project: MakeProject, mariadb: MariaDB
) -> None:
    """After kill -9 of the holder its step is dead before the next one begins, which has the next token."""
    folder = project({"slow.py": SLOW, "launcher.toml": steps("slow.py", alembic=False)})
    words = ("prestart", "--release", "r1", "--lock", mariadb.url("killed"), "--lock-expiry", "7s")
    holder = launch(*words, cwd=folder)
    until((folder / "begun").exists, "the step of the holder", 30)
    pid = step_of(folder)
    holder.signal(signal.SIGKILL)
    (folder / "slow.py").write_text(f"import os\nassert not os.path.exists('/proc/{pid}/fd/0')\n")
    successor = launch(*words, cwd=folder)

    assert 0 == successor.wait(60), str(successor)
    assert successor.event("launcher.takeover_begun") is not None
    started = successor.event("launcher.step_started")
    assert started is not None
    assert 2 == started["token"]


def step_of(folder: Path) -> int:
    """Return the pid of the step that runs in a folder."""
    import psutil

    found = [
        process.pid
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cwd"] == str(folder) and process.info["cmdline"][1:] == ["slow.py"]
    ]
    assert len(found) == 1
    return found[0]


def test_a_database_that_is_down_ends_the_start(launch: Launch, project: MakeProject, mariadb: MariaDB) -> None:
    """A wrong password is refused at once (2), a database that is not there is waited for and then 69: no step runs."""
    folder = project({"seed.py": SEED, "launcher.toml": steps("seed.py", alembic=False)})
    url = mariadb.url("refused")
    denied = launch(
        "prestart", "--lock", url.replace("://", "://nobody:s3cret@", 1).replace("root@", "", 1), cwd=folder
    )
    down = launch("prestart", "--lock", "mysql+pymysql://u@127.0.0.1:1/x", "--lock-timeout", "1s", cwd=folder)

    assert [2, 69] == [denied.wait(), down.wait()], f"{denied}\n{down}"
    assert "s3cret" not in denied.stderr
    assert not (folder / "seeded").exists()
