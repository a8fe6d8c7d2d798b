"""Is it known how long processes waited for memory, and whose time that is?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.limits.stalls import MACHINE, Stalls, StallsReader
from support.recorded_hosts import recorded

if TYPE_CHECKING:
    from pathlib import Path

TOP = "/sys/fs/cgroup"
WEB = f"{TOP}/pods.slice/pod.slice/web.service"


@pytest.mark.parametrize(
    ("name", "stalls"),
    [
        ("room-v2-fuller-ancestor", Stalls(12.5, 1.25, f"{WEB}/memory.pressure")),
        ("room-v2-vm", Stalls(2.0, 1.0, MACHINE)),
        ("usage-v1", None),
    ],
)
def test_recorded_hosts(name: str, stalls: Stalls | None, tmp_path: Path) -> None:
    """Our own v2 group tells, else the machine, by whichever name; a kernel without it tells nothing."""
    assert stalls == StallsReader(recorded(name, tmp_path))()


@pytest.mark.parametrize(
    "content",
    ["", "some", "some avg10=1.00", "some avg10=many\nfull avg10=1.00", "some avg60=1.00\nfull avg60=1.00", "\x00\xff"],
)
def test_odd_files(content: str, tmp_path: Path) -> None:
    """What makes no sense is passed over: the machine is asked."""
    root = recorded("room-v2-fuller-ancestor", tmp_path)
    (root / f"{WEB}/memory.pressure".removeprefix("/")).write_text(content, encoding="latin-1")

    assert Stalls(2.0, 1.0, MACHINE) == StallsReader(root)()


def test_read_again_and_again(tmp_path: Path) -> None:
    """Each call reads anew, elsewhere when the file has gone; where none is left there is no answer."""
    root = recorded("room-v2-fuller-ancestor", tmp_path)
    own = root / f"{WEB}/memory.pressure".removeprefix("/")
    reader = StallsReader(root)
    seen = [reader()]
    own.write_text("some avg10=3.00 total=1\nfull avg10=0.00 total=1\n")
    seen.append(reader())
    own.unlink()
    seen.append(reader())
    (root / "proc/pressure/memory").unlink()
    seen.append(reader())

    assert [12.5, 3.0, 2.0, None] == [one and one.some_avg10 for one in seen]


def test_this_machine() -> None:
    """Here there is an answer that makes sense, or the kernel does not tell."""
    stalls = StallsReader()()

    assert stalls is None or 0 <= stalls.full_avg10 <= stalls.some_avg10 <= 100
    assert stalls is None or stalls.source.startswith((TOP, MACHINE))
