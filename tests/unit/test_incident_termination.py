"""Can the platform read why, whenever the end comes?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.incidents.termination import MOST_BYTES, TerminationLog, default_path


def test_the_text_replaces_the_one_before(tmp_path: Path) -> None:
    """A shorter one leaves nothing of a longer one; the file stays the same, as a bind mount has to."""
    path = tmp_path / "log"
    log = TerminationLog(path)
    log.write("waiting for the lock\nheld by shop-1")
    inode = path.stat().st_ino
    log.write("serving 3 of 3")

    assert "serving 3 of 3\n" == path.read_text(encoding="utf-8")
    assert inode == path.stat().st_ino


def test_the_same_text_is_written_once(tmp_path: Path) -> None:
    """What is there already costs no write; nor does nothing."""
    log = TerminationLog(tmp_path / "log")
    log.write("serving")
    os.utime(tmp_path / "log", (1, 1))
    log.write("serving\n")
    log.write("")

    assert 1 == (tmp_path / "log").stat().st_mtime


@pytest.mark.parametrize("letter", ["a", "\u20ac", "\U0001f600"])
@pytest.mark.parametrize("length", [10, 4093, 4094, 4095, 4096, 9000])
def test_what_is_too_long_is_cut(tmp_path: Path, letter: str, length: int) -> None:
    """At most 4096 bytes: whole lines, or the beginning of the only one; always characters that are whole."""
    lines, line = tmp_path / "lines", tmp_path / "line"
    TerminationLog(lines).write("\n".join(["the first", *["more " * 10] * 50, letter * length, "the last"]))
    TerminationLog(line).write(letter * length)

    assert MOST_BYTES >= max(lines.stat().st_size, line.stat().st_size)
    assert lines.read_text(encoding="utf-8").startswith("the first\nmore")
    assert {"the first", "more " * 10, letter * length, "the last"} >= set(
        lines.read_text(encoding="utf-8").splitlines()
    )
    assert {letter, "\n"} == set(line.read_text(encoding="utf-8"))
    assert min(length, (MOST_BYTES - 1) // len(letter.encode())) == len(line.read_text(encoding="utf-8").strip())


def test_nothing_secret_is_in_it(tmp_path: Path) -> None:
    """It is shown to whoever may see the pod."""
    TerminationLog(tmp_path / "log").write("lost postgresql://shop:hunter2@db/shop, GET /pay?card=hunter2")

    assert "hunter2" not in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["", "missing/log", "a\0b"])
def test_it_never_raises(tmp_path: Path, name: str) -> None:
    """A folder in its place, no folder around it, no path at all: it says why, and would write the next time."""
    log = TerminationLog(tmp_path / name)
    log.write("serving")
    TerminationLog(None).write("serving")

    assert "cannot be written" in log.because


def test_it_is_tried_again(tmp_path: Path) -> None:
    """A text that could not be written counts as not written."""
    log = TerminationLog(tmp_path / "later" / "log")
    log.write("serving")
    (tmp_path / "later").mkdir()
    log.write("serving")

    assert ("serving\n", "") == ((tmp_path / "later" / "log").read_text(encoding="utf-8"), log.because)


def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    """It is a reason, not a wait."""
    os.mkfifo(tmp_path / "pipe")
    log = TerminationLog(tmp_path / "pipe")
    log.write("serving")

    assert "cannot be written" in log.because


def test_the_usual_path_is_taken_where_it_is(tmp_path: Path) -> None:
    """Kubernetes makes the file; elsewhere nothing is made in /dev."""
    assert default_path(tmp_path) is None
    (tmp_path / "dev" / "termination-log").mkdir(parents=True)
    assert default_path(tmp_path) is None
    (tmp_path / "dev" / "termination-log").rmdir()
    (tmp_path / "dev" / "termination-log").touch()

    assert tmp_path / "dev" / "termination-log" == default_path(tmp_path)
