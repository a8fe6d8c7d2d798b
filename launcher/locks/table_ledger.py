"""What has been done in this database, and who is at it?

Two tables of the tool's own beside the data they speak about: the records, and a note of the holder for those who wait.
Only the holder writes, and so creates them when it finds none; who reads needs no right but to read, and where there is
no table nothing is known. All times are texts by the database's clock (RFC 3339 UTC, milliseconds): no session's time
zone and no driver's type can change what they say.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from launcher.databases import Refused, TableMissing
from launcher.errors import LauncherError, LockLost, LockNotObtained, UsageError
from launcher.locks import Holder, LockContext, Owner, Record, State
from launcher.locks.ledger_sql import RECORD, LedgerSql, Statements

__all__ = ["TIME_OVER", "LedgerSql", "TableLedger"]

_VERSION = 1  # of the tables; another version's rows are not guessed at
_KEPT = 50  # records of one step, as launcher.locks.file_ledger keeps them
_TAIL_BYTES = 4096
_TRIES = 3  # to write the end; together shorter than a holder's patience (launcher.locks.lease)
_NAME_LENGTH = 190  # three such columns of utf8mb4 fit into the 3072 bytes of an InnoDB index

# Codes of PostgreSQL and MySQL, as in launcher.databases.
_NO_COLUMN = {"42703", 1054}
_DUPLICATE = {"23505", 1062, "42P07", 1050}  # the last two: the table is there already
TIME_OVER = {"57014", "55P03", 1205, 1969, 3024}
_NO_TOKEN = {"23502", 1048}  # a NULL: see Statements.begin
_NO_SUCH_CHARACTER = {"22P05", "22021", 1366}

Execute = Callable[..., list[tuple[object, ...]]]


class TableLedger:
    """A ledger in a table; see `launcher.locks.Ledger`. `execute(sql, *values)` carries out one statement.

    `execute` raises TableMissing, `launcher.databases.Refused`, and what its lock raises when the server is gone.
    """

    def __init__(self, context: LockContext, sql: LedgerSql, execute: Execute, *, grace_s: float) -> None:
        """Check the table's name. Raises UsageError. `grace_s`: what a record says of its owner's last seconds."""
        self._owner, self._namespace, self._grace_s = context.owner, _fitted(context.namespace), grace_s
        self.table, self.statements = context.ledger_table, Statements(context.ledger_table, sql)
        self._execute = execute

    @property
    def namespace(self) -> str:
        """What stands in the column `namespace`."""
        return self._namespace

    def ddl(self) -> str:
        """Return what somebody who may create tables has to run where the launcher may not."""
        return ";\n".join(self.statements.create) + ";\n"

    def read(self, step: str, key: str) -> Record | None:
        """Return what is known of a step for a key; see `Ledger.read`."""
        try:
            rows = self._ask(self.statements.read, self._namespace, _fitted(step), _fitted(key))
        except TableMissing:
            return None
        return replace(self._record(rows[0]), step=step, key=key) if rows else None

    def records(self) -> list[Record]:
        """Return everything, oldest first; see `Ledger.records`."""
        try:
            return [self._record(row) for row in self._ask(self.statements.records, self._namespace)]
        except TableMissing:
            return []

    def begin(self, step: str, key: str, *, after: int | None = None) -> Record:
        """Write `running`; see `Ledger.begin`. Raises LockLost when somebody else has begun at the same time."""
        identity = (self._namespace, _fitted(step), _fitted(key))
        self.records()  # refuses another version's before anything is written
        seen = self._newest(step) or 0 if after is None else after
        values = (*identity, *identity[:2], seen, *identity[:2], *identity, *self._who(), self._grace_s, _VERSION)
        self._create_if_missing(self.statements.begin, *values)
        record = self.read(step, key)
        if record is None or record.owner != self._as_written() or record.state != "running":
            raise LockLost(f"step {step!r} was begun by somebody else at the same time, in the ledger {self.table}")
        self._ask(self.statements.prune, *identity[:2], *identity[:2], _KEPT)
        return replace(record, owner=self._owner)

    def finish(self, record: Record, state: State, *, exit_code: int | None, tail: str) -> bool:
        """Write the end; see `Ledger.finish`. A table that the step itself has dropped is made again."""
        try:
            return self._finish_patiently(record, state, exit_code, _shortened(tail))
        except LauncherError as error:
            how = "without an exit code" if exit_code is None else f"with exit code {exit_code}"
            error.message = f"step {record.step!r} ended {how}, but that could not be recorded: {error.message}"
            error.args = (error.message,)
            raise

    def _finish_patiently(self, record: Record, state: State, exit_code: int | None, tail: str) -> bool:
        """Try more than once: what is not recorded now was done in vain."""
        for _ in range(_TRIES - 1):
            try:
                return self._finish(record, state, exit_code, tail)
            except _Garbled:
                tail = tail.encode("ascii", "replace").decode()
            except _TooSlow:
                continue
        return self._finish(record, state, exit_code, tail)

    def _finish(self, record: Record, state: State, exit_code: int | None, tail: str) -> bool:
        identity = (self._namespace, _fitted(record.step), _fitted(record.key))
        if self._newest(record.step) is None:
            who = (record.owner.host[:_NAME_LENGTH], record.owner.pid, _fitted_or_none(record.owner.release))
            end = (record.started_at, exit_code, tail, record.grace_s, _VERSION)
            self._create_if_missing(self.statements.insert, *identity, state, record.token, record.attempt, *who, *end)
        else:
            fence = (record.token, record.started_at, *identity[:2])
            self._ask(self.statements.finish, state, exit_code, tail, *identity, *fence)
        written = self.read(record.step, record.key)
        ours = (record.token, record.started_at, state)
        return written is not None and (written.token, written.started_at, written.state) == ours

    def _newest(self, step: str) -> int | None:
        """Return the newest token of a step; None without any, or without a table."""
        try:
            [(newest,)] = self._ask(self.statements.newest, self._namespace, _fitted(step))
        except TableMissing:
            return None
        return None if newest is None else int(str(newest))

    def say_holder(self, step: str) -> None:
        """Let waiters see who holds the lock and what for."""
        self._create_if_missing(self.statements.note, self._namespace, *self._who(), _fitted(step))

    def holder(self) -> Holder | None:
        """Return who said last to hold the lock: a help for people, nothing is decided by it."""
        try:
            rows: list[tuple[Any, ...]] = self._execute(self.statements.noted, self._namespace)
        except (TableMissing, Refused):
            return None
        if not rows:
            return None
        _, host, pid, release, step, since, now = rows[0]
        owner = Owner(host=host, pid=int(pid), release=release)
        return Holder(owner=owner, step=step, age_s=_seconds(since, now))

    def _ask(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Carry out one statement. Raises TableMissing, and LauncherError for what is refused."""
        try:
            return self._execute(sql, *values)
        except Refused as error:
            raise self._refusal(error) from None

    def _create_if_missing(self, sql: str, *values: object) -> None:
        """Write; without a table make it and write again."""
        try:
            self._ask(sql, *values)
        except TableMissing:
            self._create()
            self._ask(sql, *values)

    def _create(self) -> None:
        """Make both tables. Holders of other namespaces may be at it too: IF NOT EXISTS is no promise then."""
        for statement in self.statements.create:
            for last in (False, True):
                try:
                    self._execute(statement)
                    break
                except Refused as error:
                    if last or error.code not in _DUPLICATE:
                        raise self._no_table(error) from None
                except TableMissing as error:  # the schema
                    raise self._no_schema(error) from None

    def _record(self, row: tuple[Any, ...]) -> Record:
        """Return a row's record. Raises UsageError for another version's."""
        named = dict(zip((*RECORD, "now"), row, strict=True))
        if named["version"] != _VERSION:
            raise UsageError(
                f"the ledger {self.table} was written by another version of the launcher (version {named['version']} of"
                f" its tables; this one knows {_VERSION})",
                cure="start the version that wrote it, or give this one a table of its own: --ledger-table",
            )
        code, at = named["exit_code"], named["finished_at"] or named["started_at"]
        return Record(
            step=named["step"],
            key=named["key"],
            state=named["state"],
            token=int(named["token"]),
            attempt=int(named["attempt"]),
            owner=Owner(host=named["host"], pid=int(named["pid"]), release=named["release"]),
            started_at=named["started_at"],
            finished_at=named["finished_at"],
            exit_code=None if code is None else int(code),
            tail=named["tail"],
            grace_s=float(named["grace_s"]),
            age_s=_seconds(at, named["now"]),
        )

    def _refusal(self, error: Refused) -> Exception:
        """Return what a refused statement means."""
        if error.code in _NO_SUCH_CHARACTER:
            return _Garbled(f"the ledger {self.table} cannot be written: {error}")
        if error.code in _DUPLICATE | _NO_TOKEN:
            return LockLost(f"somebody else wrote into the ledger {self.table} at the same time: {error}")
        if error.code in TIME_OVER:
            return _TooSlow(
                f"the ledger {self.table} did not answer in time: {error}",
                cure="something else keeps the table locked; try again when it has ended",
            )
        if error.code in _NO_COLUMN:
            return UsageError(
                f"the table {self.table} is no ledger that this version of the launcher knows: {error}",
                cure="--ledger-table [SCHEMA.]TABLE names another one, which the launcher makes itself",
            )
        return UsageError(
            f"the ledger {self.table} cannot be used: {error}",
            cure="give this user SELECT on it where steps are only waited for, checked or looked at; where they run"
            f" INSERT, UPDATE and DELETE too, on it and on {self.table}_holder, in a database that may be written",
        )

    def _no_table(self, error: Exception) -> UsageError:
        statements = "; ".join(self.statements.create)
        return UsageError(
            f"the ledger {self.table} cannot be created: {error}",
            cure="name a schema this user may create tables in: --ledger-table SCHEMA.TABLE; or let somebody who may"
            f" run, and grant this user SELECT, INSERT, UPDATE and DELETE: {statements}",
        )

    def _no_schema(self, error: TableMissing) -> UsageError:
        schema = self.table.rpartition(".")[0]
        return UsageError(
            f"the ledger {self.table} cannot be created: {error}",
            cure=f"CREATE SCHEMA {schema}, in which this user may create tables; or --ledger-table with a schema that"
            " is there",
        )

    def _who(self) -> tuple[str, int, str | None]:
        owner = self._as_written()
        return owner.host, owner.pid, owner.release

    def _as_written(self) -> Owner:
        return replace(self._owner, host=self._owner.host[:_NAME_LENGTH], release=_fitted_or_none(self._owner.release))


def _seconds(begin: str, end: str) -> float:
    """Return the time between two of the database's own times; a clock that was put back gives 0."""
    return max(0.0, (dt.datetime.fromisoformat(end) - dt.datetime.fromisoformat(begin)).total_seconds())


class _TooSlow(LockNotObtained):
    """Something else has locked the table."""


class _Garbled(LockNotObtained):
    """The database's encoding has no place for a character."""


def _fitted(name: str) -> str:
    """Return a name that fits its column and stays different from every other."""
    clean = _storable(name)
    if clean == name and len(name) <= _NAME_LENGTH and not name.endswith(" "):  # MySQL compares without such spaces
        return name
    unique = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{clean[: _NAME_LENGTH - len(unique) - 1]}~{unique}"


def _fitted_or_none(name: str | None) -> str | None:
    return None if name is None else _fitted(name)


def _shortened(tail: str) -> str:
    """Return the last 4096 bytes, of whole characters that a database takes."""
    return _storable(tail).encode()[-_TAIL_BYTES:].decode(errors="ignore")


def _storable(text: str) -> str:
    """Return the text without NUL, which PostgreSQL refuses, and without lone surrogates, which nothing encodes."""
    return text.replace("\0", "").encode(errors="replace").decode()
