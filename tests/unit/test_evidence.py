"""Is what a worker wrote down there, however it ended, and without a password in it?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launcher.serving.evidence import MOST_BYTES, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

DIES = """
import faulthandler, os, sys
from launcher.serving.evidence import Evidence
evidence = Evidence(int(sys.argv[1]))
evidence.write("the last words\\n")
faulthandler.enable(file=evidence.fd)
def where_it_happened():
    faulthandler._sigabrt()
where_it_happened()
"""


@pytest.fixture
def evidence() -> Iterator[Evidence]:
    """Return a new file, closed in the end."""
    made = Evidence.create()
    yield made
    made.close()


def test_outlives_the_worker(evidence: Evidence) -> None:
    """Text and faulthandler's stacks of a process that a signal ended are there, in the order they were written."""
    ended = subprocess.run(
        [sys.executable, "-c", DIES, str(evidence.fd)], pass_fds=[evidence.fd], capture_output=True, check=False
    )
    words, _, stacks = evidence.read().partition("\n")

    assert -signal.SIGABRT == ended.returncode
    assert "the last words" == words
    assert "where_it_happened" in stacks


def test_reading_leaves_the_position_alone(evidence: Evidence) -> None:
    """It can be read between two writes, and again."""
    evidence.write("one ")
    first = evidence.read()
    evidence.write("two")

    assert ("one ", "one two", "one two") == (first, evidence.read(), evidence.read())


def test_passwords_are_masked(evidence: Evidence) -> None:
    """A traceback with a database's URL shows the host, not the password."""
    evidence.write("OperationalError: postgresql://app:S3kr@db.example/orders\n")

    assert "OperationalError: postgresql://app:***@db.example/orders\n" == evidence.read()


def test_of_much_both_ends_are_shown(evidence: Evidence) -> None:
    """Of more than the limit the first and the last whole lines are returned, and what is between is said to be cut."""
    evidence.write("first\n" + "postgresql://app:S3kr@db.example/orders\n" * 100 + "last\n")
    lines = evidence.read(limit=100).splitlines()

    assert ["first", "postgresql://app:***@db.example/orders", "[...]"] == lines[:3]
    assert ["postgresql://app:***@db.example/orders", "last"] == lines[3:]


def test_it_does_not_grow_without_bound(evidence: Evidence) -> None:
    """From one MiB on nothing is written any more: it is memory."""
    for _ in range(3):
        evidence.write("x" * (MOST_BYTES // 2 + 1))

    assert MOST_BYTES == os.fstat(evidence.fd).st_size


def test_what_no_text_is_can_be_written(evidence: Evidence) -> None:
    """A lone surrogate, as in file names that are no UTF-8, does not raise in a worker that is failing already."""
    evidence.write("no such file: \udcff")

    assert "no such file: \\udcff" == evidence.read()


def test_writing_never_raises_for_the_file(evidence: Evidence) -> None:
    """With the descriptor gone (an application that closes what it does not know), writing does nothing."""
    evidence.close()
    evidence.write("lost")
    evidence.close()


def test_the_descriptor_is_not_inherited(evidence: Evidence) -> None:
    """A program that the application starts does not get it."""
    assert not os.get_inheritable(evidence.fd)
