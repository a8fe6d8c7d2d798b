"""How does a lock behave inside one process, so that it can be lost on purpose?

A fake for tests, offered as `launcher.testing.MemoryLock`; it keeps the promises of every other type.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import ClassVar, Literal

from launcher.errors import LockLost
from launcher.locks import Holder, LockContext, Owner, Record, State
from launcher.locks.file_ledger import is_running, newest_token


class MemoryServer:
    """What the locks of one test share, as a database would be: who holds, and the records."""

    def __init__(self) -> None:
        """Begin with a free lock and an empty ledger."""
        self.holder: MemoryHeld | None = None
        self.records: list[Record] = []

    def lose(self) -> None:
        """Take the lock from its holder, as a server does that ends a session."""
        self.holder = None


class MemoryLedger:
    """A ledger in a list; see `launcher.locks.Ledger`."""

    def __init__(self, server: MemoryServer, owner: Owner) -> None:
        """Write for `owner`."""
        self._server, self._owner = server, owner

    def read(self, step: str, key: str) -> Record | None:
        """See `Ledger.read`."""
        return next((r for r in reversed(self._server.records) if (r.step, r.key) == (step, key)), None)

    def records(self) -> list[Record]:
        """See `Ledger.records`."""
        return list(self._server.records)

    def begin(self, step: str, key: str, *, after: int | None = None) -> Record:
        """See `Ledger.begin`."""
        last = self.read(step, key)
        newest = newest_token(self._server.records, step)
        if after is not None and after != newest:
            raise LockLost
        record = Record(
            step=step,
            key=key,
            state="running",
            token=newest + 1,
            attempt=last.attempt + 1 if last and last.state != "done" else 1,
            owner=self._owner,
            started_at="2026-01-01T00:00:00.000Z",
        )
        self._write(record)
        return record

    def finish(self, record: Record, state: State, *, exit_code: int | None, tail: str) -> bool:
        """See `Ledger.finish`."""
        records = self._server.records
        if record.token != newest_token(records, record.step) or not is_running(records, record):
            return False
        at = "2026-01-01T00:00:01.000Z"
        self._write(dataclasses.replace(record, state=state, finished_at=at, exit_code=exit_code, tail=tail))
        return True

    def _write(self, record: Record) -> None:
        others = [r for r in self._server.records if (r.step, r.key) != (record.step, record.key)]
        self._server.records = [*others, record]


class MemoryLock:
    """A lock inside one process; keeps `launcher.locks.Lock`."""

    kind: ClassVar[str] = "memory"
    hosts: ClassVar[Literal["this host", "every host"]] = "this host"
    uses: ClassVar[frozenset[str]] = frozenset()
    warning: str | None = None

    def __init__(self, context: LockContext, server: MemoryServer | None = None) -> None:
        """Share `server` with the other contenders of the test."""
        self.context, self.server = context, server or MemoryServer()
        self.ledger = MemoryLedger(self.server, context.owner)

    @property
    def where(self) -> str:
        """Where the lock is."""
        return "memory"

    @property
    def look(self) -> str:
        """See `Lock.look`."""
        return "a debugger"

    @property
    def poll_s(self) -> tuple[float, float]:
        """See `Lock.poll_s`."""
        return 0.01, 0.05

    def try_acquire(self) -> MemoryHeld | None:
        """See `Lock.try_acquire`."""
        if self.server.holder is not None:
            return None
        self.server.holder = MemoryHeld(self)
        return self.server.holder

    def mark(self) -> object:
        """See `Lock.mark`: a test is fast, so all of it."""
        return tuple(self.server.records) or None

    def ask(self, url: str, sql: str) -> list[tuple[object, ...]] | None:  # noqa: ARG002 - the Protocol's
        """See `Lock.ask`."""
        return None

    def holder(self) -> Holder | None:
        """See `Lock.holder`."""
        held = self.server.holder
        if held is None:
            return None
        return Holder(owner=held.lock.context.owner, step=held.step, age_s=time.monotonic() - held.since)

    def close(self) -> None:
        """Nothing is open."""


class MemoryHeld:
    """The fake lock while it is held: ownership has to be asked for, as of a database's."""

    heartbeat_s: float | None = 0.05
    give_up_s: float | None = 0.5
    takeover_s: float = 0.0

    def __init__(self, lock: MemoryLock) -> None:
        """Be the holder."""
        self.lock, self.step, self.since = lock, "", time.monotonic()

    def confirm(self) -> None:
        """See `Held.confirm`."""
        if self.lock.server.holder is not self:
            raise LockLost

    def watched(self) -> int | None:
        """Nothing tells of a loss but `confirm`."""
        return None

    def descriptors(self) -> tuple[int, ...]:
        """Nothing for the guard to keep."""
        return ()

    def environ(self) -> Mapping[str, str]:
        """See `Held.environ`."""
        return {}

    def orphans(self) -> tuple[str, ...]:
        """See `Held.orphans`."""
        return ()

    def say_step(self, step: str) -> None:
        """See `Held.say_step`."""
        self.step = step

    def release(self) -> None:
        """See `Held.release`."""
        self.confirm()
        self.lock.server.holder = None
