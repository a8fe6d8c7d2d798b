"""Does the launcher notice a worker's death, and answer, while the disk with its crash reports hangs?

The disk is a file system of its own that is frozen: whoever writes to it cannot even be killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.namespaces import needs_namespaces
from support.pool import APP, SERVERS, Pool, both_servers
from support.probes import between, start_prober
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.projects import MakeProject
    from support.spawning import Spawner

pytestmark = needs_namespaces

_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE and FITHAW, <linux/fs.h>
_MOUNTED = 'mount -o loop "$1" "$2" && shift 2 && exec "$@"'  # in a namespace of its own: gone with the launcher
_LATE_S = 0.5
_HANGS_S = 8.0  # longer than the monitor waits for a disk, and than the arbiter does


@dataclass
class Disk:
    """A folder that can hang."""

    image: Path
    folder: Path
    fd: int = -1

    def mounted_by(self, pid: int) -> Path:
        """Return the folder as a process sees it that has mounted it, as soon as it has."""
        path = Path(f"/proc/{pid}/root{self.folder}")
        until(lambda: path.is_mount() or not path.parent.exists(), "the file system", 20)
        self.fd = os.open(path, os.O_RDONLY)
        return path

    def freeze(self) -> None:
        """From now on whoever writes waits."""
        fcntl.ioctl(self.fd, _FREEZE, 0)

    def thaw(self) -> None:
        """Let them write."""
        fcntl.ioctl(self.fd, _THAW, 0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Return one; nobody waits for it after the test."""
    one = Disk(tmp_path / "image", tmp_path / "disk")
    one.folder.mkdir()
    with one.image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", one.image], check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    yield one
    if one.fd >= 0:
        with contextlib.suppress(OSError):  # it does not hang
            one.thaw()
        os.close(one.fd)


def reports(folder: Path) -> list[dict[str, Any]]:
    """Return the reports on disk, the oldest first."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("2*.json"))]


@both_servers
def test_a_disk_that_hangs(spawn: Spawner, project: MakeProject, disk: Disk, server: str) -> None:
    """Probes are answered all along, workers that were killed have successors, and after the thaw their reports."""
    folder, port = project({"main.py": APP}), free_port()
    mounting = ("unshare", "-m", "sh", "-c", _MOUNTED, "sh", str(disk.image), str(disk.folder), sys.executable)
    told = ("-m", "launcher", "run", "main:app", *SERVERS[server], "--port", str(port), "--workers", "2")
    words = ("--restart-intensity", "99", "--crash-dir", str(disk.folder / "c"), "--runtime-dir", str(folder / "run"))
    pool = Pool(spawn([*mounting, *told, *words], cwd=folder), port)
    pool.ready(2)
    crashes = disk.mounted_by(pool.pid) / "c"
    prober = start_prober(spawn, f"unix:{folder / 'run'}", paths=["/livez", "/readyz"], rate=20)
    disk.freeze()
    began = time.time()
    for count in (1, 2):
        pool.kill(pool.workers()[0])
        pool.ready(2 + count)
    until(lambda: time.time() - began > _HANGS_S, "a disk that has hung for long", 2 * _HANGS_S)
    hung = reports(crashes)
    ended = time.time()
    disk.thaw()
    until(lambda: len(reports(crashes)) == 2, "the reports", 20)
    probes = between(prober.stop(), began, ended)

    assert [] == hung
    assert len(probes) > 10 * _HANGS_S
    assert [] == [probe for probe in probes if probe.took_s > _LATE_S or not probe.status]
    assert {200} == {probe.status for probe in probes if probe.path == "/livez"}
    assert [("killed", 0)] * 2 == [(report["verdict"], report["merged"]) for report in reports(crashes)]
    assert [str(disk.folder / "c")] == [event["folder"] for event in pool.named("incident_not_kept")]
    assert ([], 0) == (pool.named("monitor_fault"), pool.end())
