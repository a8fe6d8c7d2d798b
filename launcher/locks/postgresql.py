"""How is one session of a PostgreSQL server the only one?

By a session's advisory lock: tried, never waited for (a waiting session is a deadlock with CREATE INDEX CONCURRENTLY),
outside of any transaction (an open one holds that statement up for ever), on a connection that has nothing else to do
(a busy one outlives its client). Measured in evidence/locks.md §1, M1 to M6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from launcher.databases import Refused, TableMissing
from launcher.databases.session import Session, open_session
from launcher.errors import UsageError
from launcher.locks import Holder, Owner
from launcher.locks.ledger_sql import LedgerSql, on_conflict
from launcher.locks.postgresql_session import Limits, check_session_pooling, let_be_the_lease, look_at_server
from launcher.locks.session import Look, SessionLock, digest
from launcher.locks.session_name import shown_as
from launcher.locks.table_ledger import TableLedger
from launcher.units import human_seconds

SQL = LedgerSql(
    quote='"',
    now="to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
    name_type="varchar(190)",
    text_type="text",
    real_type="double precision",
    table_options="",
    upsert=on_conflict,
)
_CONNECT_S = 5.0
_NAME_BYTES = 63  # NAMEDATALEN - 1: what the server keeps of an application's name
_OF_LOCK = (  # objsubid 1: a key of 64 bits; keys are of a database (manual, pg_locks)
    "l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_KEY = "((l.classid::bigint << 32) | l.objid::bigint) = %s::bigint"
_OWNED = f"SELECT 1 FROM pg_locks l WHERE {_OF_LOCK} AND l.pid = pg_backend_pid() AND {_KEY}"  # noqa: S608 - constants
_OF_SESSION = f"FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) WHERE {_OF_LOCK}"
_LOOK = f"SELECT a.pid, a.application_name, a.client_addr, a.backend_start {_OF_SESSION}"
_AGE = "extract(epoch FROM clock_timestamp() - a.backend_start)::double precision"
_HOLDER = f"SELECT a.application_name, {_AGE} {_OF_SESSION} AND {_KEY}"
_CROWDED = (  # more than half of what there may be: on the server, in the database, of the role
    "FROM (SELECT count(*) * 2 > %s::bigint"
    " OR count(*) FILTER (WHERE datname = current_database()) * 2 > %s::bigint"
    " OR count(*) FILTER (WHERE usename = session_user) * 2 > %s::bigint AS crowded"
    " FROM pg_stat_activity WHERE datid IS NOT NULL) a"
)
# Of this database's sessions, those which carry a step's name. Of another role's session no state may be seen.
_OF_STEPS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND left(application_name, %s::int) = %s::text"
    " AND pid <> pg_backend_pid()"
)
_AT_WORK = " AND state IS DISTINCT FROM 'idle'"
_ABANDONED = "idle in transaction"  # also "... (aborted)": nothing runs, its locks stay, and no client will end it


class PostgresqlLock(SessionLock):
    """An advisory lock; keeps `launcher.locks.Lock`."""

    kind: ClassVar[str] = "postgresql"
    _limits: Limits | None = None
    _lasting = True  # whether the server ends the session of a holder that is cut off
    _pooling_checked = False
    _table_seen = False

    @property
    def key(self) -> int:
        """The lock's number in its database, of 64 bits with a sign."""
        return int.from_bytes(digest(self.context.namespace, "prestart")[:8], "big", signed=True)

    @property
    def warning(self) -> str | None:
        """What is to be said of a server that does not end silent sessions, once it has been asked."""
        if self._lasting:
            return None
        return (
            f"{self.where} does not end a silent session (idle_session_timeout: PostgreSQL 14): a holder whose host is"
            f" lost keeps the lock until the network gives up, {human_seconds(self.lease.expiry_s)} where the server"
            " obeys tcp_user_timeout, else up to two hours"
        )

    @property
    def look(self) -> str:
        """The query that shows the holder; see `Lock.look`."""
        high, low = (self.key >> 32) & 0xFFFFFFFF, self.key & 0xFFFFFFFF
        return f"{_LOOK} AND l.classid = {high} AND l.objid = {low}; -- key {self.key}"

    def make_ledger(self) -> TableLedger:
        """See `SessionLock.make_ledger`."""
        return TableLedger(self.context, SQL, self.execute, grace_s=self.lease.takeover_s)

    def prepare(self, session: Session) -> None:
        """Refuse a pooler that shares sessions and a standby; make the session end when it is silent."""
        server = look_at_server(session)
        if session.told_id != server.backend and not self.session_pooled:
            raise UsageError(
                f"the lock {self.where} is behind a connection pooler: there the lock may belong to a connection that"
                f" others use too (the connection was told backend {session.told_id}, it speaks to {server.backend})",
                cure="--lock URL (LAUNCHER_LOCK) with the server's own address; or, if the pooler keeps one server"
                " connection for one client (PgBouncer: pool_mode = session), the same URL with ?pooled=session",
            )
        if server.in_recovery:
            raise UsageError(
                f"the lock {self.where} is on a standby, where nothing can be written and locks are its own",
                cure="--lock URL (LAUNCHER_LOCK) with the address of the primary",
            )
        if session.told_id != server.backend and not self._pooling_checked:
            with_other = open_session(self.url, connect_timeout_s=_CONNECT_S, application=self.application)
            check_session_pooling(session, with_other, self.where)
            self._pooling_checked = True
        self._limits = server.limits
        self._lasting = let_be_the_lease(session, self.lease)

    def take(self, session: Session) -> Look:
        """Try once; in the same question look how full the server is and whether the ledger has changed."""
        try:
            return self._looked(session)
        except TableMissing:  # it was there at the last try
            self._table_seen = False
            return self._looked(session)
        except Refused:  # the ledger may not be read, or something has locked it: that is no matter of the lock
            taken, crowded, _ = self._taken(session, "%s::text", None)
            return Look(taken=taken, crowded=crowded, mark=None)

    def _looked(self, session: Session) -> Look:
        words, namespace = self.ledger.statements, self.ledger.namespace
        if self._table_seen:
            taken, crowded, mark = self._taken(session, words.mark, namespace)
            return Look(taken=taken, crowded=crowded, mark=mark)
        taken, crowded, table = self._taken(session, "to_regclass(%s::text)::text", words.table)
        self._table_seen = table is not None
        mark = session.execute(f"SELECT {words.mark}", namespace)[0][0] if self._table_seen and not taken else ""
        return Look(taken=taken, crowded=crowded, mark=mark)

    def _taken(self, session: Session, mark: str, about: str | None) -> tuple[bool, bool, object]:
        limits = self._limits or Limits()
        sql = f"SELECT pg_try_advisory_lock(%s::bigint), a.crowded, {mark} {_CROWDED}"
        counts = (limits.server, limits.database, limits.role)
        taken, crowded, seen = session.execute(sql, self.key, about, *counts)[0]
        return bool(taken), bool(crowded), seen

    def owns(self, session: Session) -> bool:
        """Ask the server; a second try would be granted to the owner, and to the owner of nothing."""
        return bool(session.execute(_OWNED, self.key))

    def give_back(self, session: Session) -> bool:
        """See `SessionLock.give_back`."""
        return session.execute("SELECT pg_advisory_unlock(%s::bigint)", self.key)[0][0] is True

    def holder(self) -> Holder | None:
        """Return who has it: the server knows that, the note beside the ledger knows the step."""
        try:
            rows = self.execute(_HOLDER, self.key)
        except Refused:
            return self.ledger.holder()
        if not rows:
            return None
        name, age_s = rows[0]
        note = self.ledger.holder()
        if note is not None and (name is None or shown_as(note.owner) == name):
            return note
        return _from_name(str(name or ""), float(str(age_s or 0)))

    def tag(self) -> Mapping[str, str]:
        """Name the steps' sessions, as far as their driver listens to it (asyncpg does not)."""
        owner = self.context.owner
        host = owner.host.encode("ascii", "replace").decode()
        return {"PGAPPNAME": f"{self._step_name()} {owner.pid} {host}"[:_NAME_BYTES]}

    def _step_name(self) -> str:
        return f"asgi-launcher step {digest(self.context.namespace, 'prestart')[:4].hex()}"

    def orphans(self, session: Session) -> tuple[str, ...]:
        """Return which sessions of predecessors' steps are at work or were ended just now; see `Held.orphans`.

        A transaction that nobody goes on with is ended whatever the context says: waiting would never end.
        """
        name = self._step_name()
        terminate = self.context.orphans == "terminate"
        # Of the statement only its first word: the rest may hold secrets.
        since = SQL.now.replace("clock_timestamp()", "state_change")
        word = "substring(query FROM '^\\s*(\\w+)')"  # not to be seen in another role's sessions, as its start
        sql = f"SELECT pid, state, coalesce({since}, '?'), coalesce({word}, '?') {_OF_STEPS}"
        told = []
        # An idle one may belong to a step that is frozen: whoever asks for `terminate` wants it fenced off.
        which = "" if terminate else _AT_WORK
        for pid, state, at, verb in session.execute(f"{sql}{which} ORDER BY pid", len(name), name):
            idle = str(state) if str(state).startswith("idle") else ""
            ended = self._end(session, pid, state) if terminate or idle.startswith(_ABANDONED) else ""
            told.append(f"backend pid {pid}, {idle or verb} since {at}{ended}")
        return tuple(told)

    def _end(self, session: Session, pid: object, state: object) -> str:
        """End a step's session that is still as it was seen; return in words what came of it."""
        name = self._step_name()
        same = " AND pid = %s::int AND state IS NOT DISTINCT FROM %s::text"
        try:
            rows = session.execute(f"SELECT pg_terminate_backend(pid) {_OF_STEPS}{same}", len(name), name, pid, state)
        except Refused as error:
            return f" (it cannot be ended: {error})"
        return " (told to end)" if rows else ""


def _from_name(name: str, age_s: float) -> Holder:
    """Return a holder of whom only the session's name is known."""
    host, _, pid = name.removeprefix("asgi-launcher lock ").rpartition(" ")
    known = name.startswith("asgi-launcher lock ") and pid.isdigit()
    owner = Owner(host=host if known else "?", pid=int(pid) if known else 0, release=None)
    return Holder(owner=owner, step="", age_s=max(0.0, age_s))
