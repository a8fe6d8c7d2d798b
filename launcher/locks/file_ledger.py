"""What has been done on this host, and who is at it?

Two JSON files beside the lock file: the ledger, and a note of the holder for those who wait. Each is replaced as a
whole (written beside, synced, renamed), so that it is read without the lock and never seen half. Only the holder
writes.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from launcher.errors import LockLost, LockNotObtained, UsageError
from launcher.locks import Holder, Owner, Record, State

# Records of one step; its oldest go first, so that the file stays small through years of releases. Not over all steps:
# the releases of one would push out another's only record, and what is once per database would run again.
_KEPT = 50
_TAIL_BYTES = 4096  # what a record keeps of a step's output: a screenful, as a termination message
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    """The ledger file."""

    schema: Literal[1] = 1  # another version's ledger is not guessed at
    records: tuple[Record, ...] = ()  # oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """The holder's note. `since`: seconds of this host's clock; `inode`: of the lock file that it holds."""

    owner: Owner
    step: str
    since: float
    inode: int = 0


class FileLedger:
    """A ledger in a file; see `launcher.locks.Ledger`."""

    def __init__(self, path: Path, owner: Owner) -> None:
        """Remember where, and for whom records are written."""
        self.path, self._owner = path, owner

    def read(self, step: str, key: str) -> Record | None:
        """Return what is known of a step for a key; see `Ledger.read`."""
        return next((r for r in reversed(self.records()) if (r.step, r.key) == (step, key)), None)

    def records(self) -> list[Record]:
        """Return everything, oldest first; see `Ledger.records`. Raises UsageError: trying again would not help."""
        try:
            book = _load(self.path, _Book) or _Book()
        except (ValueError, OSError) as error:
            raise UsageError(
                f"the ledger {self.path} cannot be read: {error}",
                cure="repair it, or start the version that wrote it; if it is removed, every step counts as not done",
            ) from error
        return list(book.records)

    def begin(self, step: str, key: str, *, after: int | None = None) -> Record:
        """Write `running`; see `Ledger.begin`."""
        records = self.records()
        last = self.read(step, key)
        newest = newest_token(records, step)
        if after is not None and after != newest:
            raise LockLost(f"step {step!r} was begun by somebody else meanwhile")
        record = Record(
            step=step,
            key=key,
            state="running",
            token=newest + 1,
            attempt=last.attempt + 1 if last and last.state != "done" else 1,
            owner=self._owner,
            started_at=_now(),
        )
        try:
            self._write(records, record)
        except OSError as error:
            raise LockNotObtained(
                f"the ledger {self.path} cannot be written: {error.strerror}: step {step!r} was not begun",
                cure="what cannot be recorded is not begun: make room or give the right to write",
            ) from error
        return record

    def finish(self, record: Record, state: State, *, exit_code: int | None, tail: str) -> bool:
        """Write the end; see `Ledger.finish`."""
        records = self._records_at_the_end(record, exit_code)
        if record.token != newest_token(records, record.step) or not is_running(records, record):
            return False
        end = replace(record, state=state, finished_at=_now(), exit_code=exit_code, tail=tail[-_TAIL_BYTES:])
        try:
            self._write(records, end)
        except OSError as error:
            raise LockNotObtained(
                f"{_ended(record, exit_code)}: the ledger {self.path} cannot be written: {error.strerror}",
                cure="make room or give the right to write, and look whether the step may run twice",
            ) from error
        return True

    def _records_at_the_end(self, record: Record, exit_code: int | None) -> list[Record]:
        try:
            return self.records()
        except UsageError as error:
            raise UsageError(f"{_ended(record, exit_code)}: {error.message}", cure=error.cure) from error

    def _write(self, records: list[Record], record: Record) -> None:
        others = [r for r in records if (r.step, r.key) != (record.step, record.key)]
        dropped = [r for r in others if r.step == record.step][: 1 - _KEPT]
        kept = [r for r in others if r not in dropped]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save(self.path, _encoded(_Book(records=(*kept, record))))


class HolderNote:
    """Who has the lock, for those who wait, and which file it holds, for whoever finds another one in its place."""

    def __init__(self, path: Path) -> None:
        """Remember where."""
        self.path = path

    def write(self, owner: Owner, step: str, since: float, inode: int) -> None:
        """Say who, which step, and which lock file; `since` by this host's clock. A full disk is no reason to fail."""
        with_note = _encoded(_Note(owner=owner, step=step, since=since, inode=inode))
        try:
            save(self.path, with_note)
        except OSError:
            return

    def remove(self) -> None:
        """Nobody holds it any more."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return

    def read(self) -> Holder | None:
        """Return what the note says, or None."""
        note = self._load()
        if note is None:
            return None
        return Holder(owner=note.owner, step=note.step, age_s=max(0.0, time.time() - note.since))

    def inode(self) -> int | None:
        """Return which lock file the one held who wrote it last; None without a note."""
        note = self._load()
        return None if note is None else note.inode

    def _load(self) -> _Note | None:
        try:
            return _load(self.path, _Note)
        except (ValueError, OSError):
            return None


def save(path: Path, data: bytes) -> None:
    """Replace a file as a whole, so that nobody ever reads half of it, a power cut included."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            while data:  # a full disk takes a part, and refuses only the next write
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def newest_token(records: Iterable[Record], step: str) -> int:
    """Return the highest token of a step; 0 without any."""
    return max((record.token for record in records if record.step == step), default=0)


def is_running(records: Iterable[Record], record: Record) -> bool:
    """Tell whether this beginning has no end yet."""
    return any((r.step, r.token, r.state) == (record.step, record.token, "running") for r in records)


def _ended(record: Record, exit_code: int | None) -> str:
    how = "without an exit code" if exit_code is None else f"with exit code {exit_code}"
    return f"step {record.step!r} ended {how}, but that could not be recorded, so it will run again"


def _load(path: Path, kind: type[T]) -> T | None:
    """Return what the file says, checked against `kind`; None without a file. Raises ValueError and OSError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    import msgspec  # 6 ms: with nothing to do no ledger is read

    return msgspec.json.decode(data, type=kind)


def _encoded(value: _Book | _Note) -> bytes:
    import msgspec  # as in `_load`

    return msgspec.json.encode(value)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
