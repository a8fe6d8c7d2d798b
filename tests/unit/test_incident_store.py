"""Are reports kept, within their bounds, whatever happens to the folder?"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.incidents.report import new_report, size_bytes
from launcher.incidents.store import MOST_BYTES_IN_MEMORY, MOST_BYTES_OF_ONE, Store
from support.waiting import until

MOST, MOST_BYTES = 10, 40_000
LAUNCHERS, EACH = 6, 40
LINE = "x" * 98 + "\n"  # 100 bytes in JSON
KEEPS = """
import sys
from pathlib import Path
from launcher.incidents.report import new_report
from launcher.incidents.store import Store

folder, most, most_bytes, each = Path(sys.argv[1]), *map(int, sys.argv[2:])
store = Store(folder, most, most_bytes)
for number in range(each):
    path = store.keep(new_report("crash", "it died", versions={}, stacks="x\\n" * (number * 50)))
    assert path is not None, store.because
    assert len(list(folder.glob("2*.json"))) <= most, "too many"
"""
FULL = """
import resource, signal, sys
from pathlib import Path
from launcher.incidents.report import new_report
from launcher.incidents.store import Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
store = Store(Path(sys.argv[1]))
report = new_report("crash", "it died", versions={}, stacks="x\\n" * 2500)
assert store.keep(report) is None
assert store.find(report["id"]) == report
print(store.because)
"""
no_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def report(number: int = 0, **facts: Any) -> dict[str, Any]:
    """Return a report; a higher number is a later one."""
    made = new_report("crash", f"worker {number} died", versions={}, **facts)
    return made | {"id": f"20260101T000000.{number:06d}Z-000000"}


def mode(path: Path) -> int:
    """Return the permissions."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    """In a file of its id that only we can read, in a folder that only we can enter; by this launcher and the next."""
    store, kept = Store(tmp_path / "a" / "crashes"), report(1)
    path = store.keep(kept)

    assert path == tmp_path / "a" / "crashes" / f"{kept['id']}.json"
    assert (0o600, 0o700) == (mode(path), mode(path.parent))
    assert kept == store.find(kept["id"]) == Store(path.parent).find(kept["id"][:8])
    assert ([kept], "") == (store.all(), store.because)


def test_the_newest_comes_first(tmp_path: Path) -> None:
    """In the list, and among those whose ids begin in the same way."""
    store = Store(tmp_path)
    for number in (2, 3, 1):
        store.keep(report(number))

    assert ["worker 3 died", "worker 2 died", "worker 1 died"] == [one["title"] for one in store.all()]
    assert report(3)["title"] == (store.find("2026") or {})["title"]
    assert (None, None) == (store.find("2027"), store.find(""))


def test_the_same_report_is_kept_once(tmp_path: Path) -> None:
    """Kept again, it replaces itself, and nothing else has to go for it."""
    store = Store(tmp_path, most=2)
    for number, merged in ((1, 0), (2, 0), (2, 5)):
        store.keep(report(number, merged=merged))

    assert [5, 0] == [one["merged"] for one in store.all()]


def test_the_oldest_give_way(tmp_path: Path) -> None:
    """Beyond the number and beyond the bytes; with one goes what is noted of it."""
    many, large = Store(tmp_path / "many", most=3), Store(tmp_path / "large", most_bytes=20_000)
    for number in range(8):
        path = many.keep(report(number))
        assert path is not None
        path.with_suffix(".pending").touch()
        large.keep(report(number, stacks=LINE * 70))

    assert [f"worker {number} died" for number in (7, 6, 5)] == [one["title"] for one in many.all()]
    assert 6 == len(list((tmp_path / "many").iterdir()))
    assert [f"worker {number} died" for number in (7, 6)] == [one["title"] for one in large.all()]


def test_one_that_is_too_large_is_cut(tmp_path: Path) -> None:
    """It does not take the place of all others: at most a MiB, and at most what all may have."""
    path = Store(tmp_path, most_bytes=5000).keep(report(stacks=LINE * 1000))

    assert path is not None
    assert 5000 >= path.stat().st_size


def test_other_files_stay(tmp_path: Path) -> None:
    """What is not named as a report is nobody's business here, nor is what is no file."""
    others = ["notes.txt", "run-1.json", "20260101T000000.000000Z-000000.json.bak", "20250101.json", ".x.1.tmp"]
    for name in others:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    store = Store(tmp_path, most=1)
    for number in range(5):
        store.keep(report(number))

    assert 1 == len(store.all())
    assert {*others, "20260101T000000.000004Z-000000.json"} == {path.name for path in tmp_path.iterdir()}


def test_a_file_that_is_too_large_to_be_ours_counts_for_nothing(tmp_path: Path) -> None:
    """Nobody else has to go for it, and it stays: no report is as large."""
    alien = tmp_path / "20260101T000000.000000Z-abcdef.json"
    with alien.open("wb") as file:
        file.truncate(MOST_BYTES_OF_ONE + 1)
    store = Store(tmp_path, most=2, most_bytes=MOST_BYTES_OF_ONE)
    for number in (1, 2):
        store.keep(report(number))

    assert (2, True) == (len(store.all()), alien.exists())


def test_what_was_left_half_written_goes(tmp_path: Path) -> None:
    """When it is old: a young one may be another launcher's that writes it now."""
    old, young = (tmp_path / f".20260101T000000.00000{number}Z-000000.1.tmp" for number in (1, 2))
    for path in (old, young):
        path.touch()
    os.utime(old, (1, 1))
    Store(tmp_path).keep(report(3))

    assert (False, True) == (old.exists(), young.exists())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"id": "another"}', "\udc80", "[" * 100_000], ids=lambda text: ascii(text[:20])
)
def test_what_is_no_report_is_skipped(tmp_path: Path, content: str) -> None:
    """Half a file, another's, brackets by the thousand: the others are read."""
    store = Store(tmp_path)
    store.keep(report(1))
    (tmp_path / "20260101T000000.000002Z-000000.json").write_text(content, encoding="utf-8", errors="surrogateescape")

    assert ["worker 1 died"] == [one["title"] for one in store.all()]
    assert store.find("20260101T000000.000002Z") is None


def test_links_pipes_and_folders_are_skipped(tmp_path: Path) -> None:
    """A link might lead to anything, a pipe would never end, a folder is none; none of them keeps a report away."""
    store = Store(tmp_path / "crashes", most=3)
    store.keep(report(1))
    (tmp_path / "secret").write_text(json.dumps(report(2)), encoding="utf-8")
    (tmp_path / "crashes" / f"{report(2)['id']}.json").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "crashes" / f"{report(3)['id']}.json")
    (tmp_path / "crashes" / f"{report(0)['id']}.json").mkdir()

    assert ["worker 1 died"] == [one["title"] for one in store.all()]
    assert store.keep(report(4)) is not None
    assert (tmp_path / "secret").exists()


@pytest.mark.parametrize("bad", ["", "../x", "20260101T000000.000001Z-00000/", None], ids=repr)
def test_an_id_is_no_path(tmp_path: Path, bad: str | None) -> None:
    """A report that names its file otherwise is kept in memory, and the reason says so."""
    store = Store(tmp_path / "crashes")

    assert store.keep(report() | {"id": bad}) is None
    assert "is no id of a report" in store.because
    assert 1 == len(store.all())
    assert [] == list(tmp_path.iterdir())


def test_without_a_folder_memory_has_them() -> None:
    """Within the number, and within a MiB; the reason is the one that was given."""
    few, large = Store(None, most=3, because="the file system is read-only"), Store(None)
    for number in range(30):
        assert few.keep(report(number)) is None
        large.keep(report(number, stacks=LINE * 1000))

    assert ("the file system is read-only", 3) == (few.because, len(few.all()))
    assert "worker 29 died" == (few.find("2026") or {})["title"] == large.all()[0]["title"]
    assert MOST_BYTES_IN_MEMORY >= sum(size_bytes(one) for one in large.all()) > MOST_BYTES_IN_MEMORY // 2
    assert "there is no folder" == large.because


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    """Memory has the report until the folder can be used again; then the next is written, and both are found."""
    (tmp_path / "crashes").write_text("mine", encoding="utf-8")
    store = Store(tmp_path / "crashes")

    assert store.keep(report(1)) is None
    assert f"{tmp_path / 'crashes'} takes no report: File exists" == store.because
    (tmp_path / "crashes").unlink()
    assert store.keep(report(2)) is not None
    assert ("", 2) == (store.because, len(store.all()))


@no_root
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Memory has the report."""
    (tmp_path / "crashes").mkdir(mode=0o500)
    store = Store(tmp_path / "crashes")

    assert store.keep(report(1)) is None
    assert f"{tmp_path / 'crashes'} takes no report: Permission denied" == store.because
    assert 1 == len(store.all())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_file_system_that_takes_nothing() -> None:
    """/proc refuses everybody, root too."""
    store = Store(Path("/proc/crashes"))

    assert store.keep(report(1)) is None
    assert store.because.startswith("/proc/crashes takes no report: ")


def test_a_full_disk(tmp_path: Path) -> None:
    """A write that ends in the middle leaves no file, half or whole; memory has the report, whole."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False, timeout=30
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert f"{tmp_path} takes no report: File too large\n" == done.stdout
    assert [] == list(tmp_path.iterdir())


def test_many_launchers_stay_within_the_bounds(tmp_path: Path) -> None:
    """At no moment are there more reports or bytes than one may have; at the end the newest are there, and whole."""
    argv = [sys.executable, "-c", KEEPS, *map(str, (tmp_path, MOST, MOST_BYTES, EACH))]
    launchers = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(LAUNCHERS)]
    most = most_bytes = 0
    try:

        def all_ended() -> bool:
            nonlocal most, most_bytes
            sizes = _sizes(tmp_path)
            most, most_bytes = max(most, len(sizes)), max(most_bytes, sum(sizes))
            return all(one.poll() is not None for one in launchers)

        until(all_ended, "all launchers have ended", 60)
    finally:
        ends = [_end(one) for one in launchers]

    assert [(0, "")] * LAUNCHERS == ends
    assert 0 < most <= MOST
    assert 0 < most_bytes <= MOST_BYTES
    assert len(_sizes(tmp_path)) == len(Store(tmp_path).all()) > 0
    assert [] == list(tmp_path.glob(".*"))


def _sizes(folder: Path) -> list[int]:
    """Return the sizes of all reports; one that goes while they are listed is none."""
    sizes = []
    for path in list(folder.glob("2*.json")):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            continue
    return sizes


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.kill()
    _, said = process.communicate(timeout=30)
    return process.returncode, said
