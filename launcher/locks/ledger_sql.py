"""In which words does each dialect keep the ledger's tables?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launcher.errors import UsageError

__all__ = ["IDENTITY", "RECORD", "LedgerSql", "Statements", "on_conflict", "on_duplicate_key"]

IDENTITY = ("namespace", "step", "key")
RECORD = (
    *("namespace", "step", "key", "state", "token", "attempt", "host", "pid", "release"),
    *("started_at", "finished_at", "exit_code", "tail", "grace_s", "version"),
)
_NOTE = ("namespace", "host", "pid", "release", "step", "since")
# 56 characters and `_holder`: PostgreSQL cuts a name at 63 without an error, MySQL refuses more than 64.
_NAME = re.compile(r"\[([\w$]+)\]")  # of a column or table in a template
_PLAIN = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_$]{0,62}\.)?[A-Za-z_][A-Za-z0-9_$]{0,55}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSql:
    """A dialect's own words. There is no percent sign in any of them."""

    quote: str  # around a name
    now: str  # the server's clock as text in UTC: 2026-01-31T10:00:00.000Z
    name_type: str  # a text of up to 190 characters that tells upper from lower case
    text_type: str  # a text of up to 4096 bytes
    real_type: str  # a float of 64 bits
    table_options: str  # after the closing bracket of CREATE TABLE
    upsert: Callable[[str, Sequence[str], Sequence[str], str], str]  # `on_conflict` or `on_duplicate_key`


def on_conflict(table: str, identity: Sequence[str], columns: Sequence[str], newer: str) -> str:
    """Return PostgreSQL's end of an upsert; all names quoted.

    With `newer` (else empty) the row there is replaced only when this column of it is less than ours.
    """
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns)
    where = f" WHERE {table}.{newer} < excluded.{newer}" if newer else ""
    return f" ON CONFLICT ({', '.join(identity)}) DO UPDATE SET {sets}{where}"


def on_duplicate_key(table: str, identity: Sequence[str], columns: Sequence[str], newer: str) -> str:
    """Return the same for MySQL and MariaDB, which assign from left to right: the compared column comes last."""
    del table, identity  # any unique key of the table counts there
    ordered = [name for name in columns if name != newer] + ([newer] if newer else [])
    value = "IF({newer} < VALUES({newer}), VALUES({name}), {name})" if newer else "VALUES({name})"
    return " ON DUPLICATE KEY UPDATE " + ", ".join(
        f"{name} = {value.format(newer=newer, name=name)}" for name in ordered
    )


class Statements:
    """The statements of one pair of tables, with `%s` for each value; made once from templates.

    In a template `[name]` is a name to be quoted.
    """

    def __init__(self, table: str, sql: LedgerSql) -> None:
        """Quote the names. Raises UsageError for a name that is not a plain one."""
        if not _PLAIN.fullmatch(table):
            raise UsageError(
                f"--ledger-table {table!r} is no name for a table: letters, digits and _, at most 56, after an optional"
                " `SCHEMA.`",
                cure="--ledger-table asgi_launcher_ledger, the default",
            )
        self._sql = sql
        brackets = "].["
        self.table = self._quoted(f"[{table.replace('.', brackets)}]")
        self.note_table = self._quoted(f"[{table.replace('.', brackets)}_holder]")
        self._words = {"table": self.table, "note_table": self.note_table, "now": sql.now, "options": sql.table_options}
        self._words |= {"columns": self._list(RECORD), "of_note": self._list(_NOTE), "identity": self._list(IDENTITY)}
        self._words |= {"of_step": self._quoted("[namespace] = %s AND [step] = %s")}
        self._words |= {"of_record": self._quoted("[namespace] = %s AND [step] = %s AND [key] = %s")}
        # In a derived table of its own: MySQL reads no table that it writes (ER_UPDATE_TABLE_USED).
        self._words |= {
            "newest": self._text("(SELECT n FROM (SELECT MAX([token]) AS n FROM {table} WHERE {of_step}) x)")
        }

    def _quoted(self, template: str) -> str:
        return _NAME.sub(lambda name: f"{self._sql.quote}{name[1]}{self._sql.quote}", template)

    def _text(self, template: str, **words: str) -> str:
        return self._quoted(template).format_map(self._words | words)

    def _list(self, names: Sequence[str]) -> str:
        return self._quoted(", ".join(f"[{name}]" for name in names))

    def _upsert(self, table: str, identity: Sequence[str], columns: Sequence[str], newer: str = "") -> str:
        names, others = ([self._list([name]) for name in each] for each in (identity, columns))
        return self._sql.upsert(table, names, others, self._list([newer]) if newer else "")

    @property
    def create(self) -> tuple[str, str]:
        """The two CREATE TABLE statements; no values."""
        sql = self._sql
        kinds = {
            **dict.fromkeys((*IDENTITY, "host"), f"{sql.name_type} NOT NULL"),
            "release": sql.name_type,
            "state": "varchar(16) NOT NULL",
            "token": "bigint NOT NULL",
            **dict.fromkeys(("attempt", "pid", "version"), "integer NOT NULL"),
            **dict.fromkeys(("started_at", "since"), "varchar(32) NOT NULL"),
            "finished_at": "varchar(32)",
            "exit_code": "integer",
            "tail": f"{sql.text_type} NOT NULL",
            "grace_s": f"{sql.real_type} NOT NULL",
        }
        record, note = (", ".join(f"[{name}] {kinds[name]}" for name in names) for names in (RECORD, _NOTE))
        # Two holders that both believe in their lock cannot begin a step with the same token: the second is refused.
        keys = "PRIMARY KEY ({identity}), UNIQUE ([namespace], [step], [token])"
        return (
            self._text(f"CREATE TABLE IF NOT EXISTS {{table}} ({record}, {keys}){{options}}"),
            self._text(f"CREATE TABLE IF NOT EXISTS {{note_table}} ({note}, PRIMARY KEY ([namespace])){{options}}"),
        )

    @property
    def begin(self) -> str:
        """Begin a step.

        Values: identity, namespace, step, the newest token that was seen, namespace, step, identity, host, pid,
        release, grace_s, version. With another newest token there is none for the row, and it is refused as a NULL.
        """
        return self._text(
            "INSERT INTO {table} ({columns}) VALUES (%s, %s, %s, 'running',"
            " CASE WHEN COALESCE({newest}, 0) = %s THEN COALESCE({newest}, 0) + 1 END,"
            " COALESCE((SELECT n FROM (SELECT MAX([attempt]) AS n FROM {table} WHERE {of_record} AND [state] <> 'done')"
            " y), 0) + 1, %s, %s, %s, {now}, NULL, NULL, '', %s, %s)"
        ) + self._upsert(self.table, IDENTITY, RECORD[len(IDENTITY) :], "token")

    @property
    def finish(self) -> str:
        """Write the end; values: state, exit_code, tail, identity, token, started_at, namespace, step.

        The time is for a table that was emptied: its tokens begin anew.
        """
        return self._text(
            "UPDATE {table} SET [state] = %s, [finished_at] = {now}, [exit_code] = %s, [tail] = %s"
            " WHERE {of_record} AND [token] = %s AND [started_at] = %s AND [state] = 'running' AND [token] = {newest}"
        )

    @property
    def insert(self) -> str:
        """Write a record that vanished with its table; values: all columns but finished_at, which is now."""
        before = ", ".join(["%s"] * RECORD.index("finished_at"))
        return self._text("INSERT INTO {table} ({columns}) VALUES ({before}, {now}, %s, %s, %s, %s)", before=before)

    @property
    def newest(self) -> str:
        """The newest token of a step, NULL without any; values: namespace, step."""
        return self._text("SELECT {newest}")

    @property
    def prune(self) -> str:
        """Drop the oldest records of a step; values: namespace, step, namespace, step, how many are kept."""
        return self._text(
            "DELETE FROM {table} WHERE {of_step} AND [token] <= (SELECT n FROM"
            " (SELECT [token] AS n FROM {table} WHERE {of_step} ORDER BY [token] DESC LIMIT 1 OFFSET %s) x)"
        )

    @property
    def read(self) -> str:
        """One record; values: identity."""
        return self._text("SELECT {columns}, {now} FROM {table} WHERE {of_record}")

    @property
    def records(self) -> str:
        """All records, the oldest first; values: namespace."""
        return self._text(
            "SELECT {columns}, {now} FROM {table} WHERE [namespace] = %s"
            " ORDER BY COALESCE([finished_at], [started_at]), [token]"
        )

    @property
    def mark(self) -> str:
        """An expression that differs when any record has changed; values: namespace."""
        return self._text(
            "(SELECT CONCAT_WS(' ', SUM([token]), COUNT([finished_at]), MAX([finished_at])) FROM {table}"
            " WHERE [namespace] = %s)"
        )

    @property
    def note(self) -> str:
        """Say who holds; values: namespace, host, pid, release, step."""
        text = self._text("INSERT INTO {note_table} ({of_note}) VALUES (%s, %s, %s, %s, %s, {now})")
        return text + self._upsert(self.note_table, _NOTE[:1], _NOTE[1:])

    @property
    def noted(self) -> str:
        """Who said to hold, and the time now; values: namespace."""
        return self._text("SELECT {of_note}, {now} FROM {note_table} WHERE [namespace] = %s")
