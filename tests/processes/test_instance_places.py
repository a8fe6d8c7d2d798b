"""Is a launcher found where there is little to write, and only one's own where others are near?"""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from support.namespaces import needs_namespaces
from support.stand_ins import TESTS, Host
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.spawning import Launch, Spawner


@pytest.fixture
def host(spawn: Spawner, launch: Launch, tmp_path: Path) -> Host:
    """Return a host where nothing runs."""
    return Host(spawn, launch, tmp_path)


# Nothing can be written, there is no home, and the user has no name: as OpenShift starts a container.
_BARE = """
set -e
for folder in /tmp /var/tmp /dev/shm /run; do mount -t tmpfs -o ro none $folder; done
mount --bind / / && mount -o remount,ro,bind /
# It may read what is root's alone, since the interpreter of the tests may lie there, and write nothing.
run() {
    setpriv --reuid 54321 --regid 0 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search \\
        env -i PATH="$PATH" PYTHONPATH="$PYTHONPATH" HOME=/nowhere "$@"
}
cd /
run "$PYTHON" -m support.stand_in '{"named": 1}' &
for _ in $(seq 200); do if grep -q @launcher-54321-1 /proc/net/unix; then break; fi; sleep 0.05; done
run "$PYTHON" -m launcher health live
run "$PYTHON" -m launcher status --json
run "$PYTHON" -m launcher scale 2
run "$PYTHON" -m launcher stop
run "$PYTHON" -m launcher health live || echo "gone: $?"
"""


@needs_namespaces
def test_where_nothing_can_be_written(spawn: Spawner) -> None:
    """Read-only file systems, no home and a uid without a name: the abstract socket is found by all commands."""
    hidden = ("/tmp/", "/var/tmp/", "/run/")  # noqa: S108 - nothing is made there
    if str(TESTS).startswith(hidden) or sys.prefix.startswith(hidden):
        pytest.skip("the project lies where this test puts empty file systems")
    env = {"PYTHON": sys.executable, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    launched = spawn(["unshare", "-mn", "sh", "-c", _BARE], env=env, cwd="/")

    assert launched.wait() == 0, launched.stderr
    lines = launched.stdout.splitlines()
    assert "@launcher-54321-1" == lines[0]
    assert "main:app" == json.loads(lines[1])["app"]
    assert ['/scale {"workers": 2}', '/stop {"quick": false}', "gone: 1"] == lines[2:]


_NEIGHBOUR = """
set -e
"$PYTHON" -m launcher health live || echo "before: $?"
"$PYTHON" -m support.stand_in "$ASKED" > "$OUT" &
for _ in $(seq 200); do if [ -s "$OUT" ]; then break; fi; sleep 0.05; done
"$PYTHON" -m launcher health live && echo "inside: $?"
"$PYTHON" -m launcher status --json
echo ready
wait
"""


@needs_namespaces
def test_two_containers_with_one_volume(host: Host, spawn: Spawner) -> None:
    """In another pid namespace commands work, pid 1 or not; a neighbour there is not mistaken for one of here."""
    asked = json.dumps({"runtime_dir": str(host.runtime_dir), "named": 1})
    env = {"PYTHON": sys.executable, "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "ASKED": asked, **host.env}
    argv = ["unshare", "-pf", "--kill-child", "sh", "-c", _NEIGHBOUR]
    started: list[Launched] = []
    for name in ("first", "second"):
        options = {**env, "OUT": str(host.folder / name)}
        started.append(spawn(argv, env=options, cwd=host.folder))
        until(lambda: "ready\n" in started[-1].stdout or not started[-1].running, "a neighbour", 30)
    pids = [json.loads(one.stdout.splitlines()[2])["pid"] for one in started if one.running]
    found = {host.folder.joinpath(name).read_text().strip() for name in ("first", "second")}
    for one in started:
        one.signal(signal.SIGKILL)  # --kill-child: all of them

    assert [["before: 1", "inside: 0"]] * 2 == [one.stdout.splitlines()[:2] for one in started]
    assert 2 == len(pids)
    assert {str(host.runtime_dir / name) for name in ("1.sock", "1-2.sock")} == found
