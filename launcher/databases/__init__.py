"""What does one database say to one question?

Asked through the application's own driver, which is imported here and nowhere earlier; the connection is closed again
before the answer is returned, and nothing stays open. No text of an error contains a password.
"""

from __future__ import annotations

from launcher.databases.errors import CannotAsk, DatabaseUnreachable, TableMissing
from launcher.databases.url import DatabaseUrl, absolute, conceal, is_local, parse, redact, same

__all__ = [
    "CannotAsk",
    "DatabaseUnreachable",
    "DatabaseUrl",
    "TableMissing",
    "absolute",
    "ask",
    "conceal",
    "is_local",
    "parse",
    "redact",
    "same",
]


def ask(url: str, sql: str, *, connect_timeout_s: float) -> list[tuple[object, ...]]:
    """Return the rows that `sql` gives, in autocommit. May block for longer than the time: call it off the main thread.

    Raises DatabaseUnreachable (also for a refusal), its subclass CannotAsk (no driver, a URL that cannot be used) and
    TableMissing (a table that the question names is not there, or neither is the SQLite file, which is never created).
    """
    from launcher.databases.drivers import ask_driver

    try:
        parts = parse(url)
    except ValueError as error:
        raise CannotAsk(str(error)) from None
    try:
        return ask_driver(url, parts, sql, connect_timeout_s)
    except (DatabaseUnreachable, TableMissing):
        raise
    except Exception as error:  # noqa: BLE001 - every driver has its own; `from None`: its text may hold the password
        raise _translated(error, url) from None


# PostgreSQL: undefined_table, invalid_schema_name (appendix A of its manual). MySQL: ER_NO_SUCH_TABLE.
_NO_TABLE = {"42P01", "3F000", 1146}
_MISUSE = (TypeError, ValueError, AttributeError, ImportError)  # an option the driver does not take


def _translated(error: Exception, url: str) -> Exception:
    original = getattr(error, "orig", None) or error  # SQLAlchemy's wrapping
    code = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or next(iter(original.args), None)
    text = " ".join(conceal(str(original) or type(original).__name__, url).split())
    if code in _NO_TABLE or "no such table" in text:
        return TableMissing(text)
    if isinstance(original, _MISUSE):
        return CannotAsk(text)
    return DatabaseUnreachable(text)
