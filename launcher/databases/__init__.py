"""What does one database say to one question?

Asked through the application's own driver, which is imported here and nowhere earlier; the connection is closed again
before the answer is returned, and nothing stays open. No text of an error contains a password. What is kept open is a
`launcher.databases.session.Session`, made by `connected`.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from launcher.databases.errors import CannotAsk, Crowded, DatabaseUnreachable, Denied, Refused, TableMissing
from launcher.databases.url import DatabaseUrl, absolute, conceal, database_name, is_local, parse, redact, same

if TYPE_CHECKING:
    from launcher.databases.session import Rows, Session

__all__ = [
    "CannotAsk",
    "Crowded",
    "DatabaseUnreachable",
    "DatabaseUrl",
    "Denied",
    "Refused",
    "TableMissing",
    "absolute",
    "ask",
    "conceal",
    "connected",
    "database_name",
    "is_local",
    "parse",
    "redact",
    "same",
    "translated",
]

_PAUSE_S = (0.1, 0.4)  # until a crowded server is tried again


def ask(url: str, sql: str, *, connect_timeout_s: float) -> Rows:
    """Return the rows that `sql` gives, in autocommit. May block for longer than the time: call it off the main thread.

    A server that has no connection free is tried again until the time is over. Raises DatabaseUnreachable (also for a
    refusal), its subclass CannotAsk (no driver, a URL that cannot be used) and TableMissing (a table that the question
    names is not there, or neither is the SQLite file, which is never created).
    """
    deadline = time.monotonic() + connect_timeout_s
    while True:
        try:
            return _asked(url, sql, max(0.1, deadline - time.monotonic()))
        except Crowded:
            import random  # 3 ms that a start with nothing to do saves

            pause_s = random.uniform(*_PAUSE_S)  # noqa: S311 - spreads those who were refused together
            if time.monotonic() + pause_s >= deadline:
                raise
            time.sleep(pause_s)


def _asked(url: str, sql: str, timeout_s: float) -> Rows:
    from launcher.databases.drivers import connect
    from launcher.databases.session import Session

    parts = _parsed(url)
    try:
        connection = connect(url, parts, timeout_s)
    except Exception as error:  # noqa: BLE001 - every driver has its own; `from None`: its text may hold the password
        raise translated(error, url) from None
    session = Session(connection, url, parts.dialect)
    try:
        return session.execute(sql)
    finally:
        session.close()


def connected(url: str, *, connect_timeout_s: float, application: str) -> Session:
    """Return an open connection to keep, in autocommit; `application` is what the server shows it as.

    Raises DatabaseUnreachable, among them Crowded, Denied and CannotAsk. May block for longer than the time.
    """
    from launcher.databases.drivers import connect_to_keep
    from launcher.databases.session import Session

    parts = _parsed(url)
    try:
        connection = connect_to_keep(parts, connect_timeout_s, application)
    except Exception as error:  # noqa: BLE001 - as in `_asked`
        told = translated(error, url)
        if isinstance(told, Refused):  # no right to connect: not a statement's matter here
            raise Denied(str(told), code=told.code) from None
        raise told from None
    return Session(connection, url, parts.dialect)


def _parsed(url: str) -> DatabaseUrl:
    try:
        return parse(url)
    except ValueError as error:
        raise CannotAsk(str(error)) from None


# PostgreSQL: appendix A of its manual. MySQL: its error message reference. libpq tells no code for what happens while
# it connects, so there its English text decides; the text of another language is DatabaseUnreachable, tried again.
_NO_TABLE = {"42P01", "3F000", 1146}  # undefined_table, invalid_schema_name; ER_NO_SUCH_TABLE
_CROWDED = {"53300", 1040, 1203, 1226}  # too_many_connections; ER_CON_COUNT_ERROR, per user, per user and resource
_CROWDED_TEXTS = (
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "no more connections allowed",  # PgBouncer's max_client_conn
    "query_wait_timeout",  # PgBouncer: no server connection became free
)
_DENIED = {"28P01", "28000", 1044, 1045, 1698}  # invalid_password, invalid_authorization; ER_*ACCESS_DENIED_*
_DENIED_TEXTS = (
    "authentication failed",
    "no pg_hba.conf entry",
    "no password supplied",
    "permission denied for database",
    "is not permitted to log in",
    "no such user",  # PgBouncer
)
_REFUSED = {
    *("42501", "25006", "42703"),  # insufficient_privilege, read_only_sql_transaction, undefined_column
    *("57014", "55P03"),  # query_canceled, lock_not_available
    *("22P05", "22021"),  # untranslatable_character, character_not_in_repertoire
    *("23502", "23505", "42P07"),  # not_null_violation, unique_violation, duplicate_table
    *(1142, 1143, 1227, 1290, 1792),  # access denied to table, column, operation; the server, transaction is read-only
    *(1048, 1054, 1366, 1406),  # column cannot be null, unknown column, incorrect value, data too long
    *(1205, 1969, 3024),  # lock wait timeout, statement timeout of MariaDB, of MySQL
    *(1062, 1050),  # duplicate entry, duplicate table
}
_MISUSE = (TypeError, ValueError, AttributeError, ImportError)  # an option the driver does not take
# The last one is PyMySQL's RuntimeError, also in aiomysql and asyncmy: MySQL 8's passwords need a package beside them.
_MISUSE_TEXTS = ("invalid connection option", "invalid dsn", "'cryptography' package is required")


def translated(error: Exception, url: str) -> Exception:
    """Return a driver's error as this package tells it, without the password; an error of ours as it is."""
    if isinstance(error, (DatabaseUnreachable, TableMissing)):
        return error
    original = getattr(error, "orig", None) or error  # SQLAlchemy's wrapping
    code = _code(original)
    text = " ".join(_without_statement(conceal(str(original) or type(original).__name__, url)).split())
    if code in _NO_TABLE or "no such table" in text:
        return TableMissing(text)
    if (isinstance(original, _MISUSE) and code is None) or (code is None and _says(text, _MISUSE_TEXTS)):
        return CannotAsk(text)
    return _kind(code, text)(text, code=code)


def _without_statement(text: str) -> str:
    """Return libpq's text without the line of the statement and the caret below it: they say nothing on one line."""
    return re.sub(r"^.*\n[ \t]*\^[ \t]*$", "", text, flags=re.MULTILINE)  # `LINE 1:` is in libpq's language


def _kind(code: str | int | None, text: str) -> type[DatabaseUnreachable]:
    """Return which refusal it is: by the server's code; by the text where there is no code."""
    if code in _CROWDED or (code is None and _says(text, _CROWDED_TEXTS)):
        return Crowded
    if code in _DENIED or (code is None and (_says(text, _DENIED_TEXTS) or _no_role(text))):
        return Denied
    if code in _REFUSED:
        return Refused
    return DatabaseUnreachable


def _code(error: object) -> str | int | None:
    """Return the number that MySQL's drivers put first (some have an SQLSTATE too), or PostgreSQL's SQLSTATE."""
    first = next(iter(getattr(error, "args", ())), None)
    if isinstance(first, int) and not isinstance(error, OSError):
        return first
    told = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return str(told) if told is not None else None


def _says(text: str, parts: tuple[str, ...]) -> bool:
    return any(part in text.lower() for part in parts)


def _no_role(text: str) -> bool:
    return 'role "' in text and "does not exist" in text
