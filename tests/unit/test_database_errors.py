"""Are the drivers' errors told apart by what can be done about them?"""

from __future__ import annotations

import psycopg
import pymysql
import pytest

from launcher.databases import (
    CannotAsk,
    Crowded,
    DatabaseUnreachable,
    Denied,
    Refused,
    TableMissing,
    ask,
    connected,
    translated,
)

_URL = "postgresql://u:s3cret@h/db"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('connection to server at "h" failed: FATAL:  sorry, too many clients already', Crowded),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", Crowded),
        ('FATAL:  too many connections for role "u"', Crowded),
        ("FATAL:  no more connections allowed (max_client_conn)", Crowded),
        ('FATAL:  password authentication failed for user "u"', Denied),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "u", database "db"', Denied),
        ('FATAL:  role "u" does not exist', Denied),
        ('invalid connection option "ssl"', CannotAsk),
        ("FATAL:  the database system is starting up", DatabaseUnreachable),
        ('FATAL:  database "db" does not exist', DatabaseUnreachable),
        ("Connection refused", DatabaseUnreachable),
    ],
)
def test_what_libpq_says_without_a_code(text: str, kind: type[Exception]) -> None:
    """While it connects libpq gives no SQLSTATE: its text decides."""
    assert kind is type(translated(psycopg.OperationalError(text), _URL))


def test_the_statement_is_left_out() -> None:
    """What libpq prints of the statement, in whatever language, is no part of the reason; its hint is."""
    texts = [
        'relation "t" does not exist\nLINE 1: SELECT x FROM t\n                      ^',
        'relation "t" does not exist\nZEILE 1: SELECT x FROM t\n                       ^\nHINT:  Look for it.',
    ]

    assert ['relation "t" does not exist', 'relation "t" does not exist HINT: Look for it.'] == [
        str(translated(psycopg.errors.UndefinedTable(text), _URL)) for text in texts
    ]


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (psycopg.errors.TooManyConnections("x"), Crowded, "53300"),
        (psycopg.errors.InvalidPassword("x"), Denied, "28P01"),
        (psycopg.errors.InsufficientPrivilege("x"), Refused, "42501"),
        (psycopg.errors.LockNotAvailable("too many clients"), Refused, "55P03"),
        (psycopg.errors.CannotConnectNow("x"), DatabaseUnreachable, "57P03"),
        (psycopg.errors.AdminShutdown("x"), DatabaseUnreachable, "57P01"),
        (pymysql.OperationalError(1040, "Too many connections"), Crowded, 1040),
        (pymysql.OperationalError(1045, "Access denied"), Denied, 1045),
        (pymysql.OperationalError(1142, "INSERT command denied"), Refused, 1142),
        (pymysql.OperationalError(2006, "gone away"), DatabaseUnreachable, 2006),
    ],
)
def test_the_servers_code_decides(error: Exception, kind: type[Exception], code: object) -> None:
    """The code is kept for who asked, and no text is looked at beside it."""
    told = translated(error, _URL)

    assert isinstance(told, DatabaseUnreachable)
    assert (kind, code) == (type(told), told.code)


def test_a_missing_table_is_no_trouble_with_the_database() -> None:
    """It is told apart, for every dialect."""
    errors = [psycopg.errors.UndefinedTable("x"), pymysql.ProgrammingError(1146, "x"), Exception("no such table: t")]

    assert [TableMissing] * 3 == [type(translated(error, _URL)) for error in errors]


def test_a_driver_without_the_package_that_it_needs_is_no_trouble_with_the_database() -> None:
    """PyMySQL finds out while it connects; trying again helps nobody. Another RuntimeError may be the network's."""
    words = "'cryptography' package is required for sha256_password or caching_sha2_password auth methods"
    errors = [RuntimeError(words), RuntimeError("Event loop is closed")]

    assert [CannotAsk, DatabaseUnreachable] == [type(translated(error, _URL)) for error in errors]
    assert words == str(translated(errors[0], _URL))


def test_the_password_is_not_told() -> None:
    """Drivers repeat what they were given."""
    assert "s3cret" not in str(translated(ValueError("postgresql://u:s3cret@h/db and s3cret"), _URL))


@pytest.mark.parametrize("url", ["sqlite://", "oracle://u@h/db", "no url"])
def test_what_cannot_be_kept_open_is_said(url: str) -> None:
    """A lock is never made in what we cannot speak to."""
    with pytest.raises((CannotAsk, TableMissing)):
        connected(url, connect_timeout_s=1, application="test")


def test_nobody_there() -> None:
    """A port where nobody listens is out of reach, for questions and for locks."""
    with pytest.raises(DatabaseUnreachable):
        ask("postgresql://u@127.0.0.1:1/db", "SELECT 1", connect_timeout_s=2)
    with pytest.raises(DatabaseUnreachable):
        connected("mysql+pymysql://u@127.0.0.1:1/db", connect_timeout_s=2, application="test")
