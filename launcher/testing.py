"""What may a plugin's tests use?

`LockContract` holds what every lock type promises, as tests to inherit; `MemoryLock` is a fake that keeps the same
promises inside one process and can be lost on purpose.
"""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from launcher.errors import LockLost
from launcher.locks import Held, Holder, Lock, LockContext, Owner, Record, State

__all__ = ["LockContract", "MemoryLedger", "MemoryLock", "MemoryServer"]


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

    def begin(self, step: str, key: str) -> Record:
        """See `Ledger.begin`."""
        last = self.read(step, key)
        record = Record(
            step=step,
            key=key,
            state="running",
            token=max((r.token for r in self._server.records if r.step == step), default=0) + 1,
            attempt=last.attempt + 1 if last and last.state != "done" else 1,
            owner=self._owner,
            started_at="2026-01-01T00:00:00.000Z",
        )
        self._write(record)
        return record

    def finish(self, record: Record, state: State, *, exit_code: int | None, tail: str) -> bool:
        """See `Ledger.finish`."""
        if record.token != max((r.token for r in self._server.records if r.step == record.step), default=0):
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
    warning: str | None = None

    def __init__(self, context: LockContext, server: MemoryServer | None = None) -> None:
        """Share `server` with the other contenders of the test."""
        self.context, self.server = context, server or MemoryServer()
        self.ledger = MemoryLedger(self.server, context.owner)

    @property
    def where(self) -> str:
        """Where the lock is."""
        return "memory"

    def try_acquire(self) -> MemoryHeld | None:
        """See `Lock.try_acquire`."""
        if self.server.holder is not None:
            return None
        self.server.holder = MemoryHeld(self)
        return self.server.holder

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

    def __init__(self, lock: MemoryLock) -> None:
        """Be the holder."""
        self.lock, self.step, self.since = lock, "", time.monotonic()

    def confirm(self) -> None:
        """See `Held.confirm`."""
        if self.lock.server.holder is not self:
            raise LockLost

    def descriptors(self) -> tuple[int, ...]:
        """Nothing for the guard to keep."""
        return ()

    def say_step(self, step: str) -> None:
        """See `Held.say_step`."""
        self.step = step

    def release(self) -> None:
        """See `Held.release`."""
        self.confirm()
        self.lock.server.holder = None


class LockContract(ABC):
    """What every lock type promises. Inherit in a test class named `Test...` and make contenders for one lock."""

    @abstractmethod
    def contender(self, pid: int) -> Lock:
        """Return a lock for the contender `pid` on the host `here`; all contenders of one test share the lock."""

    def held(self, pid: int) -> Held:
        """Return the lock, taken by `pid`."""
        held = self.contender(pid).try_acquire()
        assert held is not None, "a free lock was not given"
        return held

    def test_only_one_contender_gets_it(self) -> None:
        """A second contender gets None while the first has the lock, at once."""
        held = self.held(1)
        started = time.monotonic()

        assert self.contender(2).try_acquire() is None
        assert time.monotonic() - started < 1
        held.release()

    def test_a_released_lock_is_free(self) -> None:
        """After the release the next contender gets it."""
        self.held(1).release()

        self.held(2).release()

    def test_the_holder_is_told(self) -> None:
        """A waiter learns host, pid and step of the holder."""
        held = self.held(1)
        held.say_step("seed")
        holder = self.contender(2).holder()
        held.release()

        assert holder is not None
        assert (holder.owner.host, holder.owner.pid, holder.step) == ("here", 1, "seed")
        assert 0 <= holder.age_s < 60  # noqa: PLR2004 - of the time this test takes at most

    def test_the_holder_may_confirm(self) -> None:
        """Asking for an ownership that is there raises nothing."""
        held = self.held(1)
        held.confirm()

        held.release()

    def test_a_record_is_seen_by_all(self) -> None:
        """What one contender wrote as done, another reads without the lock."""
        lock = self.contender(1)
        held = lock.try_acquire()
        assert held is not None
        assert lock.ledger.finish(lock.ledger.begin("seed", "r1"), "done", exit_code=0, tail="ok")
        held.release()
        record = self.contender(2).ledger.read("seed", "r1")

        assert record is not None
        assert (record.state, record.exit_code, record.tail, record.owner.pid) == ("done", 0, "ok", 1)
        assert record.finished_at is not None

    def test_a_record_is_of_its_key(self) -> None:
        """A step that is done for one release is not done for the next, and stays done for the first."""
        ledger = self.contender(1).ledger
        ledger.finish(ledger.begin("seed", "r1"), "done", exit_code=0, tail="")
        ledger.finish(ledger.begin("seed", "r2"), "failed", exit_code=1, tail="")
        first, second, third = (ledger.read("seed", key) for key in ("r1", "r2", "r3"))

        assert (first and first.state, second and second.state, third) == ("done", "failed", None)

    def test_tokens_grow_and_attempts_count(self) -> None:
        """Each beginning of a step has a higher token; attempts count the beginnings that were not done."""
        ledger = self.contender(1).ledger
        records = [ledger.begin("seed", "r1") for _ in range(3)]

        assert [record.attempt for record in records] == [1, 2, 3]
        assert sorted({record.token for record in records}) == [record.token for record in records]

    def test_an_old_token_writes_nothing(self) -> None:
        """A holder that was replaced cannot record its end: the newest beginning stands."""
        ledger = self.contender(1).ledger
        old, new = ledger.begin("seed", "r1"), self.contender(2).ledger.begin("seed", "r1")

        assert not ledger.finish(old, "done", exit_code=0, tail="")
        record = ledger.read("seed", "r1")
        assert record is not None
        assert (record.state, record.token) == ("running", new.token)

    def test_what_is_running_blocks_nobody(self) -> None:
        """A record that says `running`, left by a holder that died, does not keep the lock from anybody."""
        self.contender(1).ledger.begin("seed", "r1")

        self.held(2).release()

    def test_closing_leaves_nothing_held(self) -> None:
        """A contender that only looked and closed keeps nobody out."""
        lock = self.contender(1)
        lock.holder()
        lock.close()

        self.held(2).release()
