"""Is what was written on the board what is read from it, and nothing else?"""

from __future__ import annotations

import asyncio
import mmap
import os
from typing import TYPE_CHECKING, Any

import pytest

from launcher.crossing import anonymous_file
from launcher.inflight import watched
from launcher.scoreboard import SLOTS, Board, BoardState, Slot, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

HTTP = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/"}


@pytest.fixture
def board() -> Iterator[Board]:
    """Return a new board; its descriptor is closed in the end."""
    made = Board.create()
    yield made
    os.close(made.fd)


def cleared(board: Board, index: int = 1) -> Slot:
    """Return a slot that was given to the first worker."""
    slot = board.slot(index)
    slot.clear(generation=1, number=1)
    return slot


def test_a_slot_that_is_reused_is_empty(board: Board) -> None:
    """Nothing of the worker before is left: no word, no request, no log line."""
    slot = cleared(board)
    fresh, states = slot.read(), []

    async def is_killed(*_: Any) -> None:
        slot.pid, slot.asked, slot.retiring = 12, 2, True
        slot.keep_log("the first worker's")
        slot.beat(3.0, 99)
        slot.stage = Stage.DRAINING
        slot.clear(generation=2, number=2)
        states.append(slot.read())

    asyncio.run(watched(is_killed, slot)(HTTP, is_killed, is_killed))  # type: ignore[arg-type]  # a coroutine
    (state,) = states

    assert (0, 0, False, 0, 0.0, 0.0) == (
        state.pid,
        state.asked,
        state.retiring,
        state.requests,
        state.lag_s,
        state.heartbeat,
    )
    assert ((), ()) == (state.in_flight, state.last_log)
    assert (2, 2, Stage.FORKED) == (state.generation, state.number, state.stage)
    assert fresh.forked_at < state.forked_at <= state.stage_since


def test_the_words_of_a_slot(board: Board) -> None:
    """Each word keeps what it was given, and another view of the file shows it."""
    slot = cleared(board, SLOTS - 1)
    slot.pid, slot.asked, slot.retiring, slot.stage = 2**22, 1, True, Stage.LIFESPAN
    slot.beat(0.5, 12)
    fd = os.dup(board.fd)
    state = Board.open(fd).slot(SLOTS - 1).read()
    os.close(fd)

    assert (SLOTS - 1, 2**22, 1, True) == (state.index, state.pid, state.asked, state.retiring)
    assert (Stage.LIFESPAN, 12, 0.5) == (state.stage, state.requests, state.lag_s)
    assert (1, 1) == (state.generation, state.number)


def test_what_ended_workers_answered_stays_counted(board: Board) -> None:
    """The pool's counters survive the ends of workers and what a memory fault leaves; each worker's begin at 0."""
    slot, other = cleared(board), cleared(board, 3)
    other.beat(0.0, 5)
    slot.beat(0.0, 2)
    slot.tally.counts[0], slot.tally.sums[0] = 3, 0.25
    before = board.tallied()
    slot.free()
    freed = board.tallied()
    slot.clear(generation=1, number=2)
    cleared_again = board.tallied(), slot.read().requests
    slot.beat(0.0, 4)
    after = board.tallied(), slot.read().requests
    slot.memory[slot.at : slot.at + 4096] = b"\xff" * 4096
    fault = board.tallied()
    slot.clear(generation=1, number=3)

    assert (10, 0.25, 3) == (before.requests, before.durations.sum_s, before.durations.counts[0])
    assert before == freed
    assert (before, 0) == cleared_again
    assert (14, 4) == (after[0].requests, after[1])
    assert (5, 5, 0) == (fault.requests, board.tallied().requests, slot.requests)
    assert 3 == board.started


def test_the_words_of_the_header(board: Board) -> None:
    """What the arbiter says of the pool is read by who opens the board."""
    board.arbiter_pid, board.wanted, board.generation, board.restarts, board.heartbeat = 1, 4, 2, 7, 12.5
    board.state, board.given_up, board.used = BoardState.DRAINING, 3, 5
    seen = Board.open(board.fd)

    assert (1, 4, 2, 7, 12.5) == (seen.arbiter_pid, seen.wanted, seen.generation, seen.restarts, seen.heartbeat)
    assert (BoardState.DRAINING, 3, 5) == (seen.state, seen.given_up, seen.used)


def test_only_slots_that_are_taken_are_listed(board: Board) -> None:
    """`states` has neither slots that nobody used nor those that were given back."""
    for index in (0, 2, 5):
        cleared(board, index)
    board.slot(2).free()

    assert [0, 5] == [state.index for state in board.states()]


def test_what_is_not_used_takes_no_memory(board: Board) -> None:
    """A board with two workers takes the header's page and five a worker, also after everything was read."""
    for index in (0, 1):
        cleared(board, index)
    board.states()

    assert os.fstat(board.fd).st_blocks * 512 <= 11 * mmap.PAGESIZE


def test_the_last_ten_lines_are_kept(board: Board) -> None:
    """Of more lines the last ten remain, in their order, each of 240 bytes at most; a second view goes on."""
    slot = cleared(board)
    for number in range(20):
        slot.keep_log(f"{number} {'ü' * 200}")
    Board.open(board.fd).slot(1).keep_log("another view's")
    lines = slot.read().last_log

    assert [*(str(number) for number in range(11, 20)), "another"] == [line.split()[0] for line in lines]
    assert len("11 " + "ü" * 118) == len(lines[0])


def test_a_memory_fault_is_survived(board: Board) -> None:
    """A slot that a dying worker has overwritten can still be read."""
    slot = cleared(board)
    slot.memory[slot.at : slot.at + 2 * 4096] = b"\xff" * (2 * 4096)
    state = slot.read()

    assert (Stage.FORKED, ()) == (state.stage, state.in_flight)


@pytest.mark.parametrize("index", [-1, SLOTS])
def test_there_is_no_such_slot(board: Board, index: int) -> None:
    """A number outside of the board is an IndexError, not somebody else's memory."""
    with pytest.raises(IndexError, match=f"slot {index} of {SLOTS}"):
        board.slot(index)


def test_what_is_no_board_is_refused() -> None:
    """A descriptor of something else is a ValueError, not a worker that is not there."""
    fd = anonymous_file("other", b"")
    try:
        with pytest.raises(ValueError, match="length is greater than file size"):
            Board.open(fd)
        os.ftruncate(fd, 1 << 23)
        with pytest.raises(ValueError, match="is no scoreboard"):
            Board.open(fd)
    finally:
        os.close(fd)


def test_the_descriptor_is_not_inherited(board: Board) -> None:
    """A program that the application starts does not get it."""
    assert not os.get_inheritable(board.fd)
