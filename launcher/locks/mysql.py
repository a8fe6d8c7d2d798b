"""How does MySQL or MariaDB keep a lock for a session?

`GET_LOCK` (evidence/locks.md M7): asked with a time of 0, so that nobody waits in the server; server-wide, so the
database is part of its name; ended with the session, which the server itself ends after `wait_timeout` of silence. DDL
does not release it, `COM_RESET_CONNECTION` does: hence nobody's pool. It is not replicated; in Galera it means nothing.
"""

from __future__ import annotations

import contextlib
import math
import re
import secrets
import time
from collections.abc import Mapping
from typing import ClassVar, cast

from launcher.databases import DatabaseUnreachable, Refused, TableMissing, parse
from launcher.databases.session import Session, open_session
from launcher.errors import UsageError
from launcher.locks import OPTIONS, Holder, Owner
from launcher.locks.ledger_sql import LedgerSql, on_duplicate_key
from launcher.locks.session import Look, SessionLock, digest
from launcher.locks.table_ledger import TableLedger

_SQL = LedgerSql(
    quote="`",
    # Not DATE_FORMAT: its percent signs are the drivers' placeholders.
    now="CONCAT(REPLACE(CAST(UTC_TIMESTAMP(3) AS CHAR(23)), ' ', 'T'), 'Z')",
    # Not VARCHAR: collations that are the same in both servers ignore spaces at the end. 190 characters of 4 bytes.
    name_type="VARBINARY(760)",
    text_type="TEXT",
    real_type="DOUBLE",
    table_options=" ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ROW_FORMAT=DYNAMIC",
    upsert=on_duplicate_key,
)
_VARIABLES = (
    *("version", "read_only", "super_read_only", "innodb_read_only", "wsrep_on"),
    "group_replication_single_primary_mode",  # MySQL: only where the plugin is there
)
# Before, a second GET_LOCK gave the first one back (manuals of both, "GET_LOCK").
_FIRST_VERSION, _FIRST_MARIADB = (5, 7, 5), (10, 0, 2)
_COUNT_S = 3.0  # the connections are counted so often at most: with the tries no more than 4 questions a second


class MysqlLock(SessionLock):
    """A user-level lock; keeps `launcher.locks.Lock` for `mysql://` and `mariadb://`, whichever server answers."""

    kind: ClassVar[str] = "mysql"
    uses: ClassVar[frozenset[str]] = OPTIONS - {"orphans"}  # see `orphans`
    _lenient: str | None = None  # what the server could not be told to do, in words
    _mariadb: bool | None = None  # None: not yet looked at
    _counted_at_s: float = -math.inf
    _no_ledger_at_s: float = -math.inf
    _crowded: bool = False

    @property
    def name(self) -> str:
        """The lock's name, 49 characters: at most 64 may be, and MySQL does not tell upper from lower case."""
        return f"launcher.{digest(self.context.namespace, 'prestart', parse(self.url).database).hex()[:40]}"

    @property
    def warning(self) -> str | None:
        """What the server could not be told; None before it has been asked."""
        return self._lenient

    @property
    def look(self) -> str:
        """The query that shows the holder's session: its host, and for how long it has been silent (`TIME`)."""
        return f"SELECT * FROM information_schema.PROCESSLIST WHERE ID = IS_USED_LOCK('{self.name}')"  # noqa: S608 - hex

    def make_ledger(self) -> TableLedger:
        """Return the ledger in MySQL's words."""
        if not parse(self.url).database:
            raise UsageError(
                f"the lock {self.where} names no database: the records need one", cure="--lock mysql://HOST/DATABASE"
            )
        return TableLedger(self.context, _SQL, self.execute, grace_s=self.lease.takeover_s)

    def execute(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """See `SessionLock.execute`. What is exact to the byte is text to us."""
        rows = super().execute(sql, *values)
        return [tuple(v.decode() if isinstance(v, bytes) else v for v in row) for row in rows]

    def prepare(self, session: Session) -> None:
        """Refuse what cannot be locked in safely, and let the server end the session when it is silent."""
        if self._mariadb is not None:  # connected again by a waiter: what may have changed, `take` looks at
            self._set_bounds(session, mariadb=self._mariadb)
            return
        facts = _variables(session)
        self._refuse(facts)
        mariadb = _is_mariadb(facts)
        self._set_bounds(session, mariadb=mariadb)
        ((number, in_force_s),) = session.execute("SELECT CONNECTION_ID(), @@SESSION.wait_timeout")
        self._check_direct(session, cast("int", number))
        self._lenient = self._left_open(cast("int", in_force_s))
        self._mariadb = mariadb

    def _refuse(self, facts: Mapping[str, str]) -> None:
        """Raise UsageError for a server in which the lock would not be the only one."""
        if facts.get("wsrep_on") == "ON":
            what = "is a node of a Galera cluster, whose nodes do not know each other's locks"
        elif facts.get("group_replication_single_primary_mode") == "OFF":
            what = "is one of several primaries (group replication), which do not know each other's locks"
        elif any(_is_on(facts.get(name)) for name in ("read_only", "super_read_only", "innodb_read_only")):
            what = "is read-only, as a replica is: its primary does not know its locks"
        elif _version(facts["version"]) < (_FIRST_MARIADB if _is_mariadb(facts) else _FIRST_VERSION):
            what = f"is of version {facts['version']}, in which a second lock gives back the first"
        else:
            return
        raise UsageError(
            f"the lock {self.where}: the server {what}",
            cure="--lock URL (LAUNCHER_LOCK) of the one server that all replicas write to, of PostgreSQL or Redis too",
        )

    def _set_bounds(self, session: Session, *, mariadb: bool) -> None:
        """Make the session a lease, and let no question of ours wait long: each as far as the server knows it."""
        expiry_s, own_s = math.ceil(self.lease.expiry_s), max(1, math.ceil(self.lease.give_up_s))
        settings = {
            "wait_timeout": expiry_s,
            "interactive_timeout": expiry_s,
            "lock_wait_timeout": own_s,
            "innodb_lock_wait_timeout": own_s,
            **({"max_statement_time": own_s} if mariadb else {"max_execution_time": own_s * 1000}),
            "sql_mode": "'STRICT_ALL_TABLES'",  # nothing is cut to fit
            "optimizer_switch": "'derived_merge=off'",  # the ledger reads the table it writes (ER_UPDATE_TABLE_USED)
            "sql_notes": 0,
            "max_error_count": 0,  # aiomysql and asyncmy would print each warning
        }
        texts = [f"{name} = {value}" for name, value in settings.items()]
        try:
            session.execute("SET SESSION " + ", ".join(texts))
        except DatabaseUnreachable:
            for text in texts:
                with contextlib.suppress(DatabaseUnreachable):
                    session.execute(f"SET SESSION {text}")

    def _check_direct(self, session: Session, number: int) -> None:
        """Raise UsageError where two of our sessions could be one of the server's."""
        if _is_direct(session, number):
            return
        if not self.session_pooled:
            raise UsageError(
                f"the lock {self.where}: a pooler or proxy is between (it called the session {session.told_id}, the"
                f" server calls it {number}); through it a lock may be another session's",
                cure="--lock URL (LAUNCHER_LOCK) that leads to the server itself; where each session has a connection"
                " of its own, add ?pooled=session to it",
            )
        if _is_shared(session, self.url, self.application):
            raise UsageError(
                f"the lock {self.where} says pooled=session, but two sessions share one connection to the server",
                cure="--lock URL (LAUNCHER_LOCK) that leads to the server itself",
            )

    def _left_open(self, in_force_s: int) -> str | None:
        if in_force_s <= math.ceil(self.lease.expiry_s):
            return None
        return (
            f"the server ends a silent session after {in_force_s} s, not {math.ceil(self.lease.expiry_s)}: so long may"
            " the lock of a host that is cut off keep all others waiting"
        )

    def take(self, session: Session) -> Look:
        """Try once: one statement, and now and then a second one that counts the connections."""
        ((taken, number, read_only, limit, user_limit, mark),) = self._try(session)
        if taken is None:
            raise DatabaseUnreachable("GET_LOCK answered NULL: the server could not say")
        if not (self.session_pooled or _is_direct(session, cast("int", number))):
            raise DatabaseUnreachable("a pooler or proxy has come between")
        if _is_on(read_only):
            raise DatabaseUnreachable(
                "the server has become read-only"
            )  # a fail-over: the session ends, and so the lock
        if not taken:
            self._count(session, cast("int", limit), cast("int", user_limit))
        return Look(taken=bool(taken), crowded=self._crowded and not taken, mark=mark)

    def _try(self, session: Session) -> list[tuple[object, ...]]:
        limits = "@@GLOBAL.max_connections, @@SESSION.max_user_connections"
        lock = f"GET_LOCK(%s, 0), CONNECTION_ID(), @@GLOBAL.read_only, {limits}"
        if time.monotonic() - self._no_ledger_at_s >= _COUNT_S:
            try:
                mark = self.ledger.statements.mark
                return session.execute(f"SELECT {lock}, {mark}", self.name, self.ledger.namespace)
            except TableMissing:  # told before anything is locked
                self._no_ledger_at_s = time.monotonic()
            except Refused:  # the ledger may not be read, or something keeps it: that is no matter of the lock
                return session.execute(f"SELECT {lock}, NULL", self.name)
        return session.execute(f"SELECT {lock}, ''", self.name)

    def _count(self, session: Session, limit: int, user_limit: int) -> None:
        """Find out whether the server, or our user, is short of connections."""
        if not self._crowded and time.monotonic() - self._counted_at_s < _COUNT_S:
            return
        self._counted_at_s = time.monotonic()
        ((_, used),) = session.execute("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
        self._crowded = _is_short(limit, int(cast("str", used)))
        if user_limit and not self._crowded:
            processes = session.execute("SHOW PROCESSLIST")  # our user's at least
            ours = next((row[1] for row in processes if row[0] == session.told_id), None)
            self._crowded = _is_short(user_limit, sum(row[1] == ours for row in processes))

    def owns(self, session: Session) -> bool:
        """Ask."""
        rows = session.execute("SELECT IS_USED_LOCK(%s) = CONNECTION_ID(), @@GLOBAL.read_only", self.name)
        return _is_ours(rows)

    def give_back(self, session: Session) -> bool:
        """Let go of it."""
        rows = session.execute("SELECT RELEASE_LOCK(%s) = 1, @@GLOBAL.read_only", self.name)
        return _is_ours(rows)

    def holder(self) -> Holder | None:
        """Return who has it: the server knows whether somebody has, the note beside the ledger who."""
        if self.execute("SELECT IS_USED_LOCK(%s)", self.name) == [(None,)]:
            return None
        unknown = Holder(owner=Owner(host="?", pid=0, release=None), step="", age_s=0.0)
        return self.ledger.holder() or unknown

    def tag(self) -> Mapping[str, str]:
        """Nothing: MySQL's clients take no name for their sessions from a variable, as PGAPPNAME is in PostgreSQL."""
        return {}

    def orphans(self, session: Session) -> tuple[str, ...]:
        """None that could be told: without a name a dead holder's statement looks like everybody's."""
        del session
        return ()


def _variables(session: Session) -> dict[str, str]:
    """Return those of `_VARIABLES` that the server has; naming one that it has not would be an error."""
    names = ", ".join(f"'{name}'" for name in _VARIABLES)
    rows = session.execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
    return {str(name): str(value) for name, value in rows}


def _is_mariadb(facts: Mapping[str, str]) -> bool:
    return "mariadb" in facts["version"].lower()


def _is_direct(session: Session, number: int) -> bool:
    """Tell whether the server calls the session what it told when we connected, in the 32 bits it has for that."""
    return session.told_id is None or session.told_id == number % 2**32


def _is_ours(rows: list[tuple[object, ...]]) -> bool:
    """Tell whether the lock is ours, and where the others look for it: not in a server that became read-only."""
    ((ours, read_only),) = rows
    return bool(ours) and not _is_on(read_only)


def _is_on(value: object) -> bool:
    """Tell whether a read-only variable is set: 1, ON, or how much of it (MariaDB 12)."""
    return str(value).upper() not in {"0", "OFF", "NONE"}


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)", text)  # MariaDB's prefix for old replicas
    return tuple(int(part) for part in found.groups()) if found else (0,)


def _is_short(limit: int, used: int) -> bool:
    """Tell whether more than half is used: the rest is left to the holder's steps and the application."""
    return used * 2 > limit


def _is_shared(session: Session, url: str, application: str) -> bool:
    """Tell whether a second session gets the same connection to the server: it would be given the same lock."""
    probe = f"launcher.probe.{secrets.token_hex(16)}"
    other = open_session(url, connect_timeout_s=5.0, application=application)
    try:
        session.execute("SELECT GET_LOCK(%s, 0)", probe)
        return other.execute("SELECT GET_LOCK(%s, 0)", probe) != [(0,)]
    finally:
        other.close()
        session.execute("SELECT RELEASE_LOCK(%s)", probe)
