"""What does every ledger promise?

The part of `launcher.testing.LockContract` that is about records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from launcher.errors import LockLost
from launcher.locks import Lock

# ruff: noqa: S101 - the contract is made of tests


class LedgerContract(ABC):
    """What every ledger promises, as tests to inherit."""

    @abstractmethod
    def contender(self, pid: int) -> Lock:
        """Return a lock for the contender `pid` on the host `here`; all contenders of one test share the lock."""

    def other_namespace(self, pid: int) -> Lock | None:  # noqa: ARG002 - for those who override it
        """Return the same for the same place and another namespace; None: there is no such thing."""
        return None

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

    def test_records_are_told_oldest_first(self) -> None:
        """All records are told in the order in which their steps ended."""
        ledger = self.contender(1).ledger
        for key in ("r2", "r1", "r3"):
            ledger.finish(ledger.begin("seed", key), "done", exit_code=0, tail="")

        assert [record.key for record in self.contender(2).ledger.records()] == ["r2", "r1", "r3"]

    def test_tokens_grow_over_all_keys(self) -> None:
        """The token is of the step: who began it for an older release cannot record its end after a newer beginning."""
        ledger = self.contender(1).ledger
        old, new = ledger.begin("seed", "r1"), ledger.begin("seed", "r2")

        assert old.token < new.token
        assert not ledger.finish(old, "done", exit_code=0, tail="")
        assert ledger.finish(new, "done", exit_code=0, tail="")

    def test_names_and_keys_are_told_apart_exactly(self) -> None:
        """Neither case, nor spaces at the end, nor accents, nor what comes after 500 characters is lost."""
        ledger = self.contender(1).ledger
        names = ["r", "R", "r ", "é", "e", "x" * 500 + "1", "x" * 500 + "2"]
        for number, name in enumerate(names):
            ledger.finish(ledger.begin("seed", name), "done", exit_code=number, tail="")
            ledger.finish(ledger.begin(name[-200:], "r1"), "done", exit_code=number, tail="")
        by_key = [ledger.read("seed", name) for name in names]
        by_step = [ledger.read(name[-200:], "r1") for name in names]

        assert [record and record.exit_code for record in by_key] == list(range(len(names)))
        assert [record and record.exit_code for record in by_step] == list(range(len(names)))

    def test_whatever_a_step_prints_can_be_recorded(self) -> None:
        """Of a long output the end is kept; a NUL and what needs four bytes are no trouble."""
        ledger = self.contender(1).ledger
        end = "a\x00b é 😀"
        assert ledger.finish(ledger.begin("seed", "r1"), "failed", exit_code=-9, tail="x" * 100_000 + end)
        record = self.contender(2).ledger.read("seed", "r1")

        assert record is not None
        assert (record.state, record.exit_code) == ("failed", -9)
        assert record.tail.endswith("b é 😀")

    def test_times_are_of_one_clock(self) -> None:
        """Beginning and end are RFC 3339 in UTC, by one clock: as texts they are in their order."""
        ledger = self.contender(1).ledger
        ledger.finish(ledger.begin("seed", "r1"), "done", exit_code=0, tail="")
        record = ledger.read("seed", "r1")

        assert record is not None
        assert record.finished_at is not None
        assert record.started_at.endswith("Z")
        assert record.started_at <= record.finished_at

    def test_namespaces_have_their_own_records(self) -> None:
        """What is done for one application is not done for another at the same place."""
        other = self.other_namespace(2)
        if other is None:
            return
        ledger = self.contender(1).ledger
        ledger.finish(ledger.begin("seed", "r1"), "done", exit_code=0, tail="")

        assert other.ledger.records() == []
        assert other.ledger.begin("seed", "r1").token == 1

    def test_an_end_is_written_once(self) -> None:
        """What has ended stays as it ended: a successor's closing and a late end do not replace each other."""
        ledger = self.contender(1).ledger
        record = ledger.begin("seed", "r1")
        assert ledger.finish(record, "done", exit_code=0, tail="")

        assert not ledger.finish(record, "failed", exit_code=None, tail="")
        stands = ledger.read("seed", "r1")
        assert stands is not None
        assert stands.state == "done"

    def test_a_beginning_that_somebody_else_came_before_is_refused(self) -> None:
        """Whoever looked under the lock and finds another newest token at the beginning has lost the lock meanwhile."""
        mine, other = self.contender(1).ledger, self.contender(2).ledger
        seen = mine.begin("seed", "r1", after=0).token
        newer = other.begin("seed", "r2", after=seen)

        refused = False
        try:
            mine.begin("seed", "r1", after=seen)
        except LockLost:
            refused = True
        stands = mine.read("seed", "r1")

        assert refused
        assert stands is not None
        assert (stands.token, newer.token) == (seen, seen + 1)
