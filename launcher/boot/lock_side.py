"""How is a lock asked that may be slow, full, or out of reach?

Off the main thread, always: a driver may block for longer than a stop signal may wait. Before the lock is ours a
question is repeated, for a bounded time while nobody answers and until the deadline while the server is only full.
While it is ours nothing is repeated: no answer means that it is lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from launcher.boot.watch import Watch
from launcher.errors import DependencyDown, LockLost, LockNotObtained
from launcher.locks import Held, LockCrowded, LockUnreachable, Record, State
from launcher.log import log
from launcher.plan import PlannedLock
from launcher.units import human_seconds

T = TypeVar("T")

CONNECT_S = 30.0  # for a database that is still starting, or moving to another host
SAY_EVERY_S = 10.0  # evidence/locks.md §4: every 10 to 30 s
_ANSWER_S = 12.0  # connecting (two addresses at 5 s) and asking
_AGAIN_S = (0.2, 0.6)
_LAST_WORDS_S = 2.0  # of the shortest grace before KILL there is (Fly: 5 s), after the step's own


class LockSide:
    """The lock as the main thread sees it. `timeout_s`: the longest wait for a server that is full."""

    def __init__(self, planned: PlannedLock, watch: Watch, timeout_s: float) -> None:
        """Ask nothing yet."""
        self.planned, self.watch, self.timeout_s = planned, watch, timeout_s
        self.lock, self.owner = planned.lock, planned.owner
        self.held: Held | None = None
        self.seen: dict[str, int] | None = None  # the newest token of each step, when the lock had just been taken
        self.ledger = _Ledger(self)

    def answer(self, question: Callable[[], T]) -> T:
        """Return what the lock's side says.

        Raises DependencyDown, LockNotObtained, LockLost, UsageError, Interrupted.
        """
        if self.held is not None:
            return self.owned(question, self.held.give_up_s or _ANSWER_S)
        started, said = time.monotonic(), False
        while True:
            trouble = self.once(question)
            if not isinstance(trouble, OSError):
                return trouble[0]
            waited_s = time.monotonic() - started
            self.give_up(trouble, waited_s, waited_s)
            if not said:
                said = True
                log.info("launcher.lock_unreachable", lock=self.lock.where, because=str(trouble))
            self.watch.pause(random.uniform(*_AGAIN_S))  # noqa: S311 - jitter

    def once(self, question: Callable[[], T]) -> tuple[T] | OSError:
        """Return the answer in a tuple, or what is to be tried again."""
        try:
            return (self.watch.off_thread(question, timeout_s=_ANSWER_S),)
        except TimeoutError as error:
            self._start_anew()
            return LockUnreachable(f"it does not answer: {error}")
        except OSError as error:
            return error

    def try_acquire(self) -> tuple[Held | None] | OSError:
        """Try once, as `once` asks. What a try that hangs gets after all is given back by the thread it hangs in."""
        lock, late = self.lock, _Late()
        answer = self.once(lambda: late.deliver(lock.try_acquire()))
        if isinstance(answer, OSError):
            late.too_late()
        return answer

    def _start_anew(self) -> None:
        """Let the object go that a thread of ours still hangs in, and go on with another one."""
        self.lock.close()
        self.lock = self.planned.again(self.owner)

    def own_as(self, release: str | None) -> None:
        """Ask as this release from now on: those who wait and the records name it. Before anything is held."""
        owner = dataclasses.replace(self.owner, release=release)
        if owner != self.owner:
            self.owner = owner
            self._start_anew()

    def give_up(self, trouble: OSError, unreachable_s: float, waited_s: float) -> None:
        """Raise when it has been tried for long enough: out of reach for `unreachable_s`, waited for `waited_s`."""
        if isinstance(trouble, LockCrowded) and waited_s >= self.timeout_s:
            raise LockNotObtained(
                f"{self.lock.where} had no room for us within {human_seconds(self.timeout_s)}: {trouble}",
                cure="more connections on the server, or fewer replicas that start at once",
            )
        if not isinstance(trouble, LockCrowded) and unreachable_s >= min(CONNECT_S, self.timeout_s):
            raise DependencyDown(
                f"the lock {self.lock.where} was out of reach for {human_seconds(round(unreachable_s, 1))}: {trouble}",
                cure="start or create it, or correct the URL; a [[prestart]] wait-for step waits longer",
            )

    def owned(self, question: Callable[[], T], timeout_s: float) -> T:
        """Ask what only the owner may. Raises LockLost when there is no good answer in time.

        Interrupted too, unless a stop signal has come before: then the owner is putting things in order, and hurries.
        """
        stopping = self.watch.stopped_by is not None
        limit_s = min(timeout_s, _LAST_WORDS_S) if stopping else timeout_s
        try:
            return self.watch.off_thread(question, timeout_s=limit_s, interruptible=not stopping)
        except TimeoutError as error:
            raise LockLost(f"the lock {self.lock.where} does not answer: {error}") from error
        except OSError as error:
            raise LockLost(f"the lock {self.lock.where} was lost: {error}") from error

    def keep(self, held: Held, seconds: float) -> None:
        """Wait while the lock stays confirmed. Raises LockLost, Interrupted."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            if held.heartbeat_s is None:
                self.watch.pause(left_s)
                continue
            self.owned(held.confirm, patience_s(held))
            self.watch.pause(min(held.heartbeat_s, max(0.0, end - time.monotonic())))


def patience_s(held: Held) -> float:
    """Return how long one confirmation may take: the last good answer is already a heartbeat old."""
    if held.give_up_s is None:
        return _ANSWER_S
    return held.give_up_s - (held.heartbeat_s or 0.0)


class _Late:
    """Who takes the lock that a try got: the main thread, or nobody because it did not wait so long."""

    def __init__(self) -> None:
        self._mutex, self._is_late = threading.Lock(), False

    def deliver(self, held: Held | None) -> Held | None:
        """Hand the lock over, or give it back."""
        with self._mutex:
            if held is None or not self._is_late:
                return held
        with contextlib.suppress(Exception):
            held.release()
        return None

    def too_late(self) -> None:
        """Nobody waits any more."""
        with self._mutex:
            self._is_late = True


class _Ledger:
    """The lock's ledger, asked as its lock is; keeps `launcher.locks.Ledger`."""

    def __init__(self, side: LockSide) -> None:
        self._side = side

    def read(self, step: str, key: str) -> Record | None:
        """See `Ledger.read`."""
        return self._side.answer(lambda: self._side.lock.ledger.read(step, key))

    def records(self) -> list[Record]:
        """See `Ledger.records`."""
        return self._side.answer(lambda: self._side.lock.ledger.records())  # noqa: PLW0108 - another lock after a try that hangs

    def begin(self, step: str, key: str, *, after: int | None = None) -> Record:
        """See `Ledger.begin`; `after` is what was seen when the lock had just been taken, unless it is given."""
        side = self._side
        seen = side.seen.get(step, 0) if after is None and side.seen is not None else after
        record = side.answer(lambda: side.lock.ledger.begin(step, key, after=seen))
        if side.seen is not None:
            side.seen[step] = record.token
        return record

    def finish(self, record: Record, state: State, *, exit_code: int | None, tail: str) -> bool:
        """See `Ledger.finish`."""
        return self._side.answer(
            lambda: self._side.lock.ledger.finish(record, state, exit_code=exit_code, tail=tail),
        )
