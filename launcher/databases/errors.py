"""Why did a database not answer?

Control flow between this package and who asks it, not sentences for users: those are made where the question is known.
"""

from __future__ import annotations


class DatabaseUnreachable(Exception):
    """No answer: nobody there, refused, no driver, or no database URL. The text is the driver's, passwords masked.

    `code` is the server's own: an SQLSTATE (PostgreSQL), an error number (MySQL), or None.
    """

    def __init__(self, message: str = "", *, code: str | int | None = None) -> None:
        """Keep the server's own code beside the text."""
        super().__init__(message)
        self.code = code


class Crowded(DatabaseUnreachable):
    """The server is there and has no connection free; another try soon may get one."""


class Denied(DatabaseUnreachable):
    """The server knows no such user, or not with this password: another try would not help."""


class Refused(DatabaseUnreachable):
    """The server will not carry out this one statement (no right, read-only, a column unknown, time over).

    The session and what it holds go on.
    """


class TableMissing(Exception):
    """The database is there, the table is not; or the SQLite file does not exist yet."""


class CannotAsk(DatabaseUnreachable):
    """Not the database's fault: no driver that fits is installed, or it does not understand the URL's options."""
