"""What may a plugin's tests use?

`LockContract` holds what every lock type promises, as tests to inherit; `MemoryLock` is a fake that keeps the same
promises inside one process and can be lost on purpose.
"""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Callable
from typing import ClassVar

from launcher.errors import LockLost
from launcher.locks import OPTIONS, Held, Lock
from launcher.locks.ledger_contract import LedgerContract
from launcher.locks.memory import MemoryHeld, MemoryLedger, MemoryLock, MemoryServer

__all__ = ["LockContract", "MemoryHeld", "MemoryLedger", "MemoryLock", "MemoryServer"]


class LockContract(LedgerContract):
    """What every lock type promises. Inherit in a test class named `Test...` and make contenders for one lock.

    `contender` has to be written; where `other_namespace`, `lose` and `secret` can be, more promises are tested.
    """

    secret: ClassVar[str] = ""  # the password in the URL that contenders are made with

    def lose(self, held: Held) -> bool:  # noqa: ARG002 - for those who override it
        """Take the lock from its holder behind its back, as far as its side can; return whether that was possible."""
        return False

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

    def test_what_is_said_of_it(self) -> None:
        """The lock says where it is and how to look at it, and has sensible pauses between two tries."""
        lock = self.contender(1)
        held = lock.try_acquire()
        shortest, longest = lock.poll_s
        said, warning = (lock.where, lock.look), lock.warning
        assert held is not None
        held.release()

        assert all(said)
        assert warning is None or warning
        assert 0 < shortest <= longest < 60  # noqa: PLR2004 - nobody waits a minute for a lock that is free

    def test_the_settings_it_uses(self) -> None:
        """What it has a use for are settings that there are."""
        assert type(self.contender(1)).uses <= OPTIONS

    def test_no_secret_is_told(self) -> None:
        """Nothing that is shown to people or handed to steps has the password."""
        lock = self.contender(1)
        held = lock.try_acquire()
        assert held is not None
        held.say_step("seed")
        record = lock.ledger.begin("seed", "r1")
        told = (lock.where, lock.look, lock.warning, lock.mark(), lock.holder(), lock.poll_s, held.orphans(), record)
        environ = dict(held.environ())
        held.release()

        assert all(isinstance(text, str) for pair in environ.items() for text in pair)
        assert not self.secret or self.secret not in f"{told} {environ}"

    def test_the_bounds_of_a_holder_fit(self) -> None:
        """Who has to ask for its ownership gives up later than it asks; a successor waits for no negative time."""
        held = self.held(1)
        heartbeat_s, give_up_s, takeover_s = held.heartbeat_s, held.give_up_s, held.takeover_s
        held.release()

        assert takeover_s >= 0
        assert heartbeat_s is None or heartbeat_s > 0
        assert give_up_s is None or (heartbeat_s is not None and heartbeat_s < give_up_s)

    def test_what_is_watched_is_quiet(self) -> None:
        """The descriptor that tells of a loss is open and not readable while the lock is ours; nobody was orphaned."""
        held = self.held(1)
        orphans, watched = held.orphans(), held.watched()
        ready = [] if watched is None else select.select([watched], [], [], 0)[0]
        held.release()

        assert (orphans, ready) == ((), [])

    def test_what_the_guard_keeps_is_closed_on_exec(self) -> None:
        """No program inherits the lock by accident: only the step guard, on purpose."""
        held = self.held(1)
        inherited = [os.get_inheritable(descriptor) for descriptor in held.descriptors()]
        held.release()

        assert not any(inherited)

    def test_given_back_once(self) -> None:
        """Who gives back a lock that is not its own any more is told, and takes it from nobody."""
        first = self.held(1)
        first.release()
        second = self.held(2)
        assert _is_lost(first.release)
        assert _is_lost(first.confirm)

        second.confirm()
        assert self.contender(3).try_acquire() is None
        second.release()

    def test_a_loss_is_told(self) -> None:
        """A holder whose lock was taken away is told when it asks and when it gives back."""
        held = self.held(1)
        if not self.lose(held):
            held.release()
            return

        assert _is_lost(held.confirm)
        assert _is_lost(held.release)

    def test_the_mark_tells_of_a_change(self) -> None:
        """What a waiter's try has seen differs after each record, and is the same where nothing was recorded."""
        lock, waiter = self.contender(1), self.contender(2)
        held = lock.try_acquire()
        assert held is not None
        record = lock.ledger.begin("seed", "r1")
        marks = [_mark(waiter), _mark(waiter)]
        lock.ledger.finish(record, "done", exit_code=0, tail="")
        marks += [_mark(waiter), _mark(waiter)]
        lock.ledger.begin("seed", "r2")
        marks.append(_mark(waiter))
        held.release()
        waiter.close()

        changes = [one != other for one, other in itertools.pairwise(marks)]
        assert changes == [False, True, False, True] or set(marks) == {None}

    def test_a_question_for_elsewhere_is_not_answered(self) -> None:
        """A lock answers only for the database that its own connection leads to."""
        lock = self.contender(1)
        asked = [lock.ask("nothing://elsewhere/db", "SELECT 1")]
        held = lock.try_acquire()
        asked.append(lock.ask("nothing://elsewhere/db", "SELECT 1"))
        assert held is not None
        held.release()

        assert asked == [None, None]

    def test_namespaces_do_not_block_each_other(self) -> None:
        """Two applications at the same place have their locks at the same time."""
        held, other = self.held(1), self.other_namespace(2)
        its = other.try_acquire() if other is not None else None
        busy = self.contender(3).try_acquire()
        held.release()

        assert busy is None
        assert (its is None) == (other is None)
        if its is not None:
            its.release()

    def test_nothing_is_open_afterwards(self) -> None:
        """Ten rounds leave no descriptor: nothing of the lock reaches the server."""
        self.held(1).release()  # a driver keeps something for itself when it is imported
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of names only
        for _ in range(10):
            lock = self.contender(1)
            held = lock.try_acquire()
            assert held is not None
            held.say_step("seed")
            lock.ledger.read("seed", "r1")
            held.release()
            lock.close()

        assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - as above


def _is_lost(ask: Callable[[], None]) -> bool:
    try:
        ask()
    except LockLost:
        return True
    return False


def _mark(waiter: Lock) -> object:
    """Return what a try in vain has seen."""
    assert waiter.try_acquire() is None
    return waiter.mark()
