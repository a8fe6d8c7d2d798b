"""What does a start make of what an earlier one has measured?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.budget import MIB
from launcher.growth import Growth
from launcher.remembered import keep, recall
from support.piloted import GROWTH, KNOWN, NOON, scene


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is closed at the end."""
    with ExitStack() as stack:
        yield stack


def test_what_was_remembered_is_only_verified(stack: ExitStack) -> None:
    """It begins with the number of the last time; workers that look small before traffic are no reason for more."""
    growth = replace(GROWTH, is_pilot=False, measured=replace(KNOWN, worker_bytes=200 * MIB, peak_bytes=200 * MIB))
    one = scene(stack, growth, workers=4)

    assert one.run(30) == 4
    assert one.play.most == 4


def test_what_was_remembered_is_revised_after_traffic(stack: ExitStack) -> None:
    """Workers that are half of what they were leave room for more, though not for twice: one did have 200 MiB."""
    growth = replace(GROWTH, is_pilot=False, measured=replace(KNOWN, worker_bytes=200 * MIB, peak_bytes=200 * MIB))
    one = scene(stack, growth, workers=4)
    one.run(10)
    one.ask()

    assert one.run(30) == 5


def test_what_was_remembered_may_be_wrong(stack: ExitStack) -> None:
    """Workers that begin larger than the last time make the pool smaller at once."""
    one = scene(stack, replace(GROWTH, is_pilot=False, measured=KNOWN), workers=8)
    one.size = 150

    assert one.run(20) == 5


def test_what_is_seen_before_traffic_does_not_replace_what_was_seen_after_it(stack: ExitStack, tmp_path: Path) -> None:
    """The next start would begin with too many; one that is larger all the same does replace it."""
    path = tmp_path / "memory.json"
    keep(path, "a", KNOWN, NOON)
    one = scene(stack, replace(GROWTH, is_pilot=False, measured=KNOWN, remember=str(path), key="a"), workers=8)
    one.size = 50
    one.play.pool.reload()
    one.run(90)
    found = recall(path, "a")
    assert found is not None
    assert (100 * MIB, False) == (found.worker_bytes, found.provisional)
    one.size = 200
    one.play.pool.reload()
    one.run(90)
    found = recall(path, "a")

    assert found is not None
    assert (200 * MIB, True) == (found.worker_bytes, found.provisional)


def test_it_is_remembered_for_the_next_start(stack: ExitStack, tmp_path: Path) -> None:
    """Under the application's key, readable by its user alone; another key finds nothing."""
    path = tmp_path / "memory.json"
    one = scene(stack, replace(GROWTH, most_workers=2, remember=str(path), key="main:app 1"))
    one.run(30)
    found = recall(path, "main:app 1")

    assert found is not None
    assert (100 * MIB, 40 * MIB, True) == (found.worker_bytes, found.shared_bytes, found.provisional)
    assert found.source == "measured 2026-11-22 by an earlier start"
    assert recall(path, "main:app 2") is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_several_applications_in_one_folder_are_remembered(tmp_path: Path) -> None:
    """Sixteen of them, the latest; one that is measured again is the latest."""
    path = tmp_path / "memory.json"
    for number in [*range(16), 0, 16, 17]:
        keep(path, str(number), replace(KNOWN, worker_bytes=(number + 1) * MIB), NOON)
    found = {number for number in range(18) if recall(path, str(number)) is not None}

    assert found == set(range(18)) - {1, 2}
    assert recall(path, "17") == replace(KNOWN, worker_bytes=18 * MIB, source="measured 2026-11-22 by an earlier start")


def test_what_cannot_be_kept_is_no_reason_to_fail(stack: ExitStack, tmp_path: Path) -> None:
    """A file where the folder would be: the pool grows all the same."""
    (tmp_path / ".launcher").touch()
    one = scene(stack, replace(GROWTH, most_workers=2, remember=str(tmp_path / ".launcher" / "memory.json"), key="a"))

    assert one.run(30) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"worker_bytes": 0},
        {"worker_bytes": "much"},
        {"at": "some day"},
        {"peak_bytes": -1},
        {"shared_bytes": float("inf")},
    ],
)
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    """It is a hint: whatever is wrong with it, the next start is a cold one."""
    path = tmp_path / "memory.json"
    keep(path, "a", KNOWN, NOON)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"measured": {"a": content["measured"]["a"] | change}}))

    assert recall(path, "a") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{",
        '{"schema": 2}',
        '{"schema": 2, "measured": {"a": 7}}',
        '{"schema": 1, "measured": {}}',
        "[" * 50_000,
        "x" * 70_000,
    ],
)
def test_a_file_that_is_no_such_file_is_none(tmp_path: Path, text: str) -> None:
    """Half a file, another one's, an empty one."""
    path = tmp_path / "memory.json"
    path.write_text(text)

    assert recall(path, "a") is None


def test_what_crosses_the_exec_arrives() -> None:
    """Through JSON, with the measurement in it."""
    growth = replace(GROWTH, measured=KNOWN, remember="a/memory.json", key="k")

    assert growth == Growth.from_plan(json.loads(json.dumps(growth.crossing())))
