"""Can a PostgreSQL session be a lock, and how does it become a lease?

What is refused here would let two replicas have the lock at once; what the server refuses to set is told.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

from launcher.databases import DatabaseUnreachable
from launcher.databases.session import Session
from launcher.errors import UsageError
from launcher.locks.lease import Lease

_UNLIMITED = 2**31
_SECOND_S = 5.0  # for the probe's second session; a pool that has no second connection would let it wait for minutes
# For the ledger's table, which a migration may have locked: tried three times, within the holder's patience.
_LOCK_OF_GIVE_UP = 1 / 6
_LEAST_STATEMENT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many connections there may be on the server, in the database, of the role."""

    server: int = _UNLIMITED
    database: int = _UNLIMITED
    role: int = _UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a session is connected to."""

    backend: int  # its own process id, asked of itself
    in_recovery: bool
    limits: Limits


def look_at_server(session: Session) -> Server:
    """Return who is at the other end. Raises DatabaseUnreachable."""
    backend, in_recovery, *limits = session.execute(
        "SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true), '0')::int,"  # PostgreSQL 16
        " (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user)"
    )[0]
    server, database, role = (_UNLIMITED if each is None or int(str(each)) < 0 else int(str(each)) for each in limits)
    return Server(
        backend=int(str(backend)),
        in_recovery=bool(in_recovery),
        limits=Limits(server=server, database=database, role=role),
    )


def let_be_the_lease(session: Session, lease: Lease) -> bool:
    """Make the server end the session when it is silent; return whether it will.

    What a role or a database has set is overridden, and set for this session alone; what this version does not know is
    left out, what it refuses is left. Raises DatabaseUnreachable.
    """
    expiry_ms = _ms(lease.expiry_s)
    settings = {
        "idle_session_timeout": expiry_ms,
        "tcp_user_timeout": expiry_ms,
        # evidence/locks.md §3: a client that is gone is noticed after 25 s where nothing was on its way
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "client_connection_check_interval": "1000",
        "statement_timeout": _ms(max(_LEAST_STATEMENT_S, lease.give_up_s)),
        "lock_timeout": _ms(lease.give_up_s * _LOCK_OF_GIVE_UP),
        "idle_in_transaction_session_timeout": "0",
        "transaction_timeout": "0",  # PostgreSQL 17
        "default_transaction_read_only": "off",
        "default_transaction_isolation": "read committed",
        "synchronous_commit": "local",  # where it is off: a crash of the server must not forget what was begun
    }
    _set(session, settings)
    rows = session.execute("SELECT setting FROM pg_settings WHERE name = 'idle_session_timeout'")
    return [(expiry_ms,)] == rows


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


def _set(session: Session, settings: dict[str, str]) -> None:
    """Set what can be set: all at once, or where one is refused one by one."""
    pairs = ", ".join(["(%s::text, %s::text)"] * len(settings))
    values = [text for pair in settings.items() for text in pair]
    try:
        session.execute(
            f"SELECT set_config(s.name, v.value, false) FROM (VALUES {pairs}) v (name, value)"  # noqa: S608 - only %s
            " JOIN pg_settings s ON s.name = v.name AND (s.name <> 'synchronous_commit' OR s.setting = 'off')",
            *values,
        )
    except DatabaseUnreachable as error:
        if error.code is None:  # the connection, not a setting
            raise
        if len(settings) > 1:
            for name, value in settings.items():
                _set(session, {name: value})


def check_session_pooling(session: Session, other: Session, where: str) -> None:
    """Refuse a pooler that lets a second client use our server connection; closes `other`.

    A key that we take must stay ours while a second client has a transaction open: in transaction mode that client is
    given the connection that we have just used (PgBouncer's free connections are a stack), in statement mode it may not
    begin one. Raises UsageError, DatabaseUnreachable.
    """
    key = secrets.randbits(63)
    too_late = threading.Timer(_SECOND_S, other.close)
    too_late.daemon = True
    too_late.start()
    try:
        shared = _shared(session, other, key)
    finally:
        too_late.cancel()
        other.close()
    if shared:
        raise UsageError(
            f"the lock {where} says pooled=session, and the pooler shares its server connections: {shared}",
            cure="--lock URL (LAUNCHER_LOCK) with the server's own address, or the address of a pool with"
            " pool_mode = session",
        )


def _shared(session: Session, other: Session, key: int) -> str:
    """Return how a session is shared with another; empty: it is not."""
    backend, taken = session.execute("SELECT pg_backend_pid(), pg_try_advisory_lock(%s::bigint)", key)[0]
    other.execute("SELECT 1")
    try:
        other.execute("BEGIN")
    except DatabaseUnreachable as error:  # some drivers tell no code when the pooler hangs up
        session.execute("SELECT 1")  # raises when it is not the one statement that was refused
        if other.closed:
            raise
        return str(error)
    theirs, also_taken = other.execute("SELECT pg_backend_pid(), pg_try_advisory_xact_lock(%s::bigint)", key)[0]
    if theirs == backend:
        return f"two sessions are one backend, {backend}"
    now, given_back = session.execute("SELECT pg_backend_pid(), pg_advisory_unlock(%s::bigint)", key)[0]
    if now != backend:
        return f"one session was two backends, {backend} and {now}"
    if also_taken or not taken or not given_back:
        return "two sessions had the same lock at once"
    return ""
