"""What does each worker do right now?

Shared memory in an anonymous file: a header that the arbiter writes, and a slot for each worker that the worker writes
and that can be read after it was killed. Whoever has the descriptor can open it; nobody waits for anybody. Every number
is an aligned native word, stored and loaded at once, and whoever reads copes with text that is being written.

Sparse: memory of a slot that was never used is never allocated. Even a read would allocate a page of it (tmpfs), so
that `states` looks no further than at the slots that were used.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from launcher.crossing import anonymous_file
from launcher.inflight import InFlight, in_flight
from launcher.tally import TALLY_BYTES, Counter, Tallied, Tally, summed
from launcher.words import WORD_BYTES, Flag, Real, Word

SLOTS = 256

_PAGE = 4096  # a multiple of every word; on hosts with larger pages only less sparse
_SLOT_BYTES = 5 * _PAGE  # the record, the log and the tally in the first, the requests in flight in the others
_BOARD_BYTES = _PAGE + SLOTS * _SLOT_BYTES
_MAGIC = int.from_bytes(b"scores 4", "little")  # of this layout

_USED, _STARTED = 5, 6  # indices of words of the header
_NOTES_AT = 1024  # of the header; the rest of the page
_TALLY_AT = 160  # of the slot; everything else in it is the present worker's
_TALLY_END = _TALLY_AT + TALLY_BYTES

_LOG = struct.Struct("@240s8xq")  # text, number: last, so that the number is there when the text is
_LOG_AT = 1536  # of the slot; the rest of the page
_LOG_LINES = (_PAGE - _LOG_AT) // _LOG.size
_READINGS = 4  # of a slot that is being given to the next worker


class Stage(IntEnum):
    """How far a worker is, or was."""

    EMPTY = 0
    FORKED = 1
    IMPORTING = 2
    LIFESPAN = 3
    READY = 4
    DRAINING = 5


class BoardState(IntEnum):
    """How far the pool is."""

    BOOTING = 0
    SERVING = 1
    DRAINING = 2
    STOPPED = 3


_STAGES = {int(stage): stage for stage in Stage}
_STATES = {int(state): state for state in BoardState}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """What was in a slot at one instant. Instants are `time.monotonic()`'s, which processes of a host share.

    A word that a dying worker's memory fault has overwritten is handed on as it is: nothing is killed by this pid.
    """

    index: int
    pid: int
    asked: int
    retiring: bool
    stage: Stage
    forked_at: float
    stage_since: float
    heartbeat: float
    lag_s: float
    requests: int
    generation: int
    number: int
    in_flight: tuple[InFlight, ...]
    more_requests: int
    more_websockets: int
    last_log: tuple[str, ...]


class Slot:
    """The live view of one worker's slot.

    pid: of the worker.
    asked: what the arbiter wants of it (0: nothing, 1: that it stops gracefully, 2: quickly).
    retiring: it wants to be replaced. unhealthy: the application says itself that it should get no requests.
    forked_at, stage_since, heartbeat: `time.monotonic()`; 0.0 for not yet.
    lag_s: how late the event loop was at the last heartbeat.
    more_requests, more_websockets: how many are in flight beside those for which the table has room.
    tally: of what was answered, by all workers that the slot ever had. counter: this process's, if it counts.
    generation, number: of the code (grows with each reload), of the worker (1, 2, 3 ... over the pool's life).
    """

    __slots__ = ("_header", "_sequence", "at", "counter", "index", "memory", "reals", "requests_at", "tally", "words")

    pid = Word(0)
    asked = Word(1)
    generation = Word(2)
    number = Word(3)
    more_requests = Word(4)
    more_websockets = Word(5)
    _before = Word(6)  # requests of the workers before
    forked_at = Real(8)
    stage_since = Real(9)
    heartbeat = Real(10)
    lag_s = Real(11)
    retiring = Flag(16)
    unhealthy = Flag(18)
    _STAGE = 17

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        """Look at slot `index` of a board's memory."""
        self.memory, self.index, self.at = memory, index, _PAGE + index * _SLOT_BYTES
        self.requests_at = self.at + _PAGE  # of those in flight
        self._header: memoryview[int] = memoryview(memory)[:_PAGE].cast("q")
        record = memoryview(memory)[self.at : self.at + _LOG_AT]
        self.words: memoryview[int] = record.cast("q")
        self.reals: memoryview[float] = record.cast("d")
        self.tally = Tally(memory, self.at + _TALLY_AT)
        self.counter: Counter | None = None
        self._sequence: Iterator[int] | None = None

    @property
    def requests(self) -> int:
        """How many requests and WebSockets of the worker have ended."""
        return self.tally.requests - self._before

    @requests.setter
    def requests(self, value: int) -> None:
        self.tally.others += value - self.requests

    @property
    def stage(self) -> Stage:
        """How far the worker is; FORKED, of which nothing follows, for what no stage is (a memory fault)."""
        return _STAGES.get(self.words[self._STAGE], Stage.FORKED)

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self.stage_since = time.monotonic()
        self.words[self._STAGE] = stage

    def clear(self, *, generation: int, number: int) -> None:
        """Make it a new worker's, before the fork: of the worker before only its tally is left, stage FORKED."""
        self.number = 0  # first and, anew, last: by it `read` knows that all it has read is of one worker
        self.memory[self.at : self.at + _TALLY_AT] = bytes(_TALLY_AT)
        self.memory[self.at + _TALLY_END : self.at + _SLOT_BYTES] = bytes(_SLOT_BYTES - _TALLY_END)
        self.tally.mend()
        self._before = self.tally.requests
        self._sequence = self.counter = None
        self.generation = generation
        self.forked_at = time.monotonic()
        self.stage = Stage.FORKED
        self.number = number
        self._header[_STARTED] = max(self._header[_STARTED], number)
        self._header[_USED] = max(self._header[_USED], self.index + 1)

    def free(self) -> None:
        """Give it back, after the worker was reaped."""
        self.stage = Stage.EMPTY

    def beat(self, lag_s: float, requests: int | None = None) -> None:
        """Say that the event loop goes round. `requests`: so far, from who does not use `inflight.watched`."""
        self.lag_s = lag_s
        if requests is not None:
            self.requests = requests
        self.heartbeat = time.monotonic()

    def publish(self) -> None:
        """Write down what was counted. Ten times a second, for who counts."""
        if self.counter is not None:
            self.counter.publish()

    def keep_log(self, line: str) -> None:
        """Keep a line (its first 240 bytes) for the report of a death. The oldest of ten gives way."""
        if self._sequence is None:  # in the worker, and again in one that opens the board a second time
            self._sequence = itertools.count(max((number for number, _ in self._log()), default=0) + 1)
        number = next(self._sequence)  # of one piece: lines come from several threads
        at = self.at + _LOG_AT + number % _LOG_LINES * _LOG.size
        self.memory[at + _LOG.size - WORD_BYTES : at + _LOG.size] = bytes(WORD_BYTES)  # while it is no line
        _LOG.pack_into(self.memory, at, line.encode(errors="replace"), number)

    def read(self) -> SlotState:
        """Return what is in the slot; EMPTY while it is being cleared. Never raises, never mixes two workers."""
        for _ in range(_READINGS):
            number, state = self.number, self._read()
            if number == state.number == self.number and (number or state.stage is Stage.EMPTY):
                return state
        return replace(self._read(), stage=Stage.EMPTY)

    def _read(self) -> SlotState:
        return SlotState(
            index=self.index,
            pid=self.pid,
            asked=self.asked,
            retiring=self.retiring,
            stage=self.stage,
            forked_at=self.forked_at,
            stage_since=self.stage_since,
            heartbeat=self.heartbeat,
            lag_s=self.lag_s,
            requests=self.requests,
            generation=self.generation,
            number=self.number,
            in_flight=in_flight(self.memory, self.requests_at),
            more_requests=self.more_requests,
            more_websockets=self.more_websockets,
            last_log=tuple(text.rstrip(b"\0").decode(errors="ignore") for _, text in sorted(self._log())),
        )

    def _log(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and text of each line kept. One that is being written has none, or another a moment later."""
        start = self.at + _LOG_AT
        for at in range(start, start + _LOG_LINES * _LOG.size, _LOG.size):
            text, number = _LOG.unpack_from(self.memory, at)
            if number > 0 and (text, number) == _LOG.unpack_from(self.memory, at):
                yield number, text


class Board:
    """A pool's scoreboard, in the process that made it or in one that has its descriptor.

    arbiter_pid, wanted, given_up: who the arbiter is, how many workers there are to be, how many fewer for memory.
    generation, restarts: of the code, of workers that died. notes: bytes of the monitor's, which outlive it.
    heartbeat: `time.monotonic()` of the arbiter's loop. used, started: slots that ever were, from the first; workers.
    """

    arbiter_pid = Word(1)
    wanted = Word(2)
    generation = Word(3)
    restarts = Word(4)
    used = Word(_USED)
    started = Word(_STARTED)
    given_up = Word(7)
    heartbeat = Real(8)
    _STATE = 16

    def __init__(self, fd: int) -> None:
        """Map the file behind `fd`, which has to be a board's."""
        self.fd = fd
        self.memory = mmap.mmap(fd, _BOARD_BYTES)
        header = memoryview(self.memory)[:_PAGE]
        self.words: memoryview[int] = header.cast("q")
        self.reals: memoryview[float] = header.cast("d")
        self.notes: memoryview[int] = header[_NOTES_AT:]
        self._slots: dict[int, Slot] = {}

    @classmethod
    def create(cls) -> Board:
        """Return a new, empty board. Its descriptor is not inheritable. Raises OSError."""
        fd = anonymous_file("launcher-scoreboard", b"")
        os.ftruncate(fd, _BOARD_BYTES)
        board = cls(fd)
        board.words[0] = _MAGIC
        return board

    @classmethod
    def open(cls, fd: int) -> Board:
        """Return the board behind a descriptor that was handed over. Raises OSError or ValueError if it is none."""
        board = cls(fd)
        if board.words[0] != _MAGIC:
            raise ValueError(f"descriptor {fd} is no scoreboard")
        return board

    @property
    def state(self) -> BoardState:
        """How far the pool is."""
        return _STATES.get(self.words[self._STATE], BoardState.BOOTING)

    @state.setter
    def state(self, state: BoardState) -> None:
        self.words[self._STATE] = state

    def slot(self, index: int) -> Slot:
        """Return the view of slot `index` (0 to SLOTS - 1; IndexError), always the same."""
        if not 0 <= index < SLOTS:
            raise IndexError(f"slot {index} of {SLOTS}")
        return self._slots.get(index) or self._slots.setdefault(index, Slot(self.memory, index))

    def states(self) -> list[SlotState]:
        """Return what the slots hold that are not EMPTY."""
        slots = map(self.slot, range(min(self.used, SLOTS)))
        states = [slot.read() for slot in slots if slot.stage is not Stage.EMPTY]
        return [state for state in states if state.stage is not Stage.EMPTY]

    def tallied(self) -> Tallied:
        """Return what all workers have answered, also those that have ended. It only ever grows."""
        return summed(self.slot(index).tally.read() for index in range(min(self.used, SLOTS)))
