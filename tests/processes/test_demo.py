"""Does the demo show what it claims, and leave nothing behind?"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.launched import Launched
    from support.spawning import Spawner

DEMO = Path(__file__).parents[2] / "examples" / "demo"
SVG_BYTES = 200_000  # a README that loads slowly is not read

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("fleet")]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary directory that other accounts may enter: the demo's PostgreSQL refuses to be root."""
    folder = Path(tempfile.mkdtemp(prefix="launcher-test-demo-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def left_in(folder: Path) -> list[str]:
    """Return the files in the folder, and the command lines of the processes that work there."""
    processes = (process.info for process in psutil.process_iter(["cwd", "cmdline"]))
    at_work = [info["cmdline"] for info in processes if str(info["cwd"] or "").startswith(str(folder))]
    return [str(path) for path in folder.iterdir()] + [str(cmdline) for cmdline in at_work]


def test_demo_keeps_its_claim(spawn: Spawner, temporary: Path, tmp_path: Path) -> None:
    """Six launchers, one killed in mid-migration: one migration, five serve, scripts fail; nothing is left behind."""
    cast, svg = tmp_path / "demo.cast", tmp_path / "demo.svg"
    argv: list[str | Path] = [sys.executable, DEMO / "demo.py", "--replicas", "6", "--record", cast]
    demo = spawn(argv, env={"TMPDIR": str(temporary)})
    status = demo.wait(200)
    subprocess.run([sys.executable, DEMO / "svg.py", cast, svg], check=True)
    header, *frames = (json.loads(line) for line in cast.read_text().splitlines())
    drawn = svg.read_text()

    assert status == 0, str(demo)
    assert "launcher: 1 migration (and 1 killed), 0 overlaps, 0 failed, 5 serving\n" in demo.stdout
    assert left_in(temporary) == []
    assert header["version"] == 2
    assert "5 serving" in frames[-1][2]
    assert "1 migration (and 1 killed)" in drawn
    assert len(drawn) < SVG_BYTES


def ended_by_asking_again(demo: Launched, signum: signal.Signals) -> bool:
    """Send the signal once more, as the impatient do; tell whether it has ended."""
    demo.signal(signum)
    return not demo.running


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_demo_ends_all_it_started(spawn: Spawner, temporary: Path, signum: signal.Signals, status: int) -> None:
    """Interrupted over and over in mid-migration it ends with the signal's exit code and leaves nothing behind."""
    argv: list[str | Path] = [
        sys.executable,
        DEMO / "demo.py",
        "--replicas",
        "3",
        "--database",
        "sqlite",
        "--migration",
        "60",
    ]
    demo = spawn(argv, env={"TMPDIR": str(temporary)})
    until(lambda: "scripts start" in demo.stdout or not demo.running, "the scripts to start", 60)
    until(lambda: ended_by_asking_again(demo, signum), "its end", 60)

    assert demo.wait() == status, str(demo)
    assert left_in(temporary) == []
