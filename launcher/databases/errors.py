"""Why did a database not answer?

Control flow between this package and who asks it, not sentences for users: those are made where the question is known.
"""

from __future__ import annotations


class DatabaseUnreachable(Exception):
    """No answer: nobody there, refused, no driver, or no database URL. The text is the driver's, passwords masked."""


class TableMissing(Exception):
    """The database is there, the table is not; or the SQLite file does not exist yet."""


class CannotAsk(DatabaseUnreachable):
    """Not the database's fault: no driver that fits is installed, or it does not understand the URL's options."""
