"""Are database URLs read as SQLAlchemy reads them, and shown without their secrets?"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url
from sqlalchemy.engine import URL

from launcher.databases import absolute, conceal, is_local, parse, redact, same

SPELLINGS = [
    "postgresql://u:p%40ss%2Fw@h:5432/db?sslmode=require",
    "postgresql+asyncpg://u@[::1]:5432/db",
    "mysql+pymysql://u:p@h/db?charset=utf8mb4&ssl_ca=%2Fca.pem",
    "sqlite:///rel/app.db",
    "sqlite+aiosqlite:////abs/app.db",
    "sqlite://",
    "postgresql:///db",
    "postgresql://u:p@/db",
    "postgresql+psycopg://u:@h/db",
    "postgresql://u@server:p:w@h/db",
]


@pytest.mark.parametrize("url", SPELLINGS)
def test_the_parts_are_sqlalchemys(url: str) -> None:
    """User, password, host, port, database and options."""
    theirs, ours = make_url(url), parse(url)
    host, port = ours.hosts[0] if ours.hosts else (None, None)

    assert (theirs.username or None, theirs.host or None, theirs.port) == (ours.user, host, port)
    assert (theirs.password or None, theirs.database or "") == (ours.password or None, ours.database)
    assert dict(theirs.query) == dict(ours.query)


@given(
    user=st.text(min_size=1),
    password=st.text(min_size=1),
    database=st.text(st.characters(exclude_characters="?", codec="utf-8"), max_size=9).map(str.rstrip),
)
def test_whatever_sqlalchemy_writes_is_read(user: str, password: str, database: str) -> None:
    """Any characters in user, password and database, in the spelling that env.py's engine reports."""
    url = URL.create("postgresql+psycopg", user, password, "h", 1, database)
    parts = parse(url.render_as_string(hide_password=False).strip())

    assert (user, password, database) == (parts.user, parts.password, parts.database)


def test_several_hosts_may_be_given() -> None:
    """As libpq writes them and as SQLAlchemy does."""
    hosts = (("a", 1), ("b", 2))

    assert hosts == parse("postgresql://u@a:1,b:2/db").hosts == parse("postgresql://u@/db?host=a:1&host=b:2").hosts


@pytest.mark.parametrize("url", ["", "app.db", "postgres", "postgresql://u:s3cret@h:port/db", "://x"])
def test_what_is_no_url_is_refused_without_its_password(url: str) -> None:
    """The message may be logged."""
    with pytest.raises(ValueError, match="database URL") as caught:
        parse(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("at", ["@", "@/", "@?", "/@", "?@", "@/x=", "@?x@y=", ":@", "@x=y/"])
def test_a_password_that_would_be_torn_apart_is_refused(at: str) -> None:
    """SQLAlchemy takes what follows the `@` for a host, a database or an option; the drivers' errors would tell it."""
    for user in ("app", "app@server"):
        with pytest.raises(ValueError, match="an `@` too many: in a password or a name write %40") as caught:
            parse(f"postgresql://{user}:123{at}ret9@127.0.0.1/orders")

        assert [part for part in ("app", "server", "123", "ret9", "127", "orders") if part in str(caught.value)] == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s3cret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:s3cret@more@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:s3cret/more@h/db", "postgresql://u:***@h/db"),
        ("postgresql://:s3cret@h/db", "postgresql://:***@h/db"),
        ("postgresql:///db?user=u&password=s3cret&x=1", "postgresql:///db?user=u&password=***&x=1"),
        ("mysql://u@h/db?ssl_key=/k.pem", "mysql://u@h/db?ssl_key=***"),
        ("postgresql:u:s3cret@h/db", "postgresql:u:***@h/db"),
        ("postgresql://u:s3cret@[::1]:5432/db", "postgresql://u:***@[::1]:5432/db"),
        ("postgresql://u@[::1]:5432/db?a=b@c", "postgresql://u@[::1]:5432/db?a=b@c"),
        ("postgresql://[::1]:5432/db?user=a@b", "postgresql://[::1]:5432/db?user=a@b"),
        ("sqlite:////a:b@c.db", "sqlite:////a:b@c.db"),
        ("tcp://cache:6379", "tcp://cache:6379"),
    ],
)
def test_secrets_are_masked(url: str, shown: str) -> None:
    """Also where an unescaped character makes the password longer than a parser thinks."""
    assert shown == redact(url)


def test_a_drivers_message_is_freed_of_the_password() -> None:
    """In every spelling; a user or database of the same word stays readable."""
    url = "postgresql://app:s3cr%2Ft@h/db"

    assert "***, ***, postgresql://app:***@h/db" == conceal(f"s3cr/t, s3cr%2Ft, {url}", url)
    assert 'user "app"' == conceal('user "app"', "postgresql://app:app@h/db")


@pytest.mark.parametrize(
    ("url", "environ", "local"),
    [
        ("sqlite:///app.db", {}, True),
        ("postgresql:///db", {}, True),
        ("postgresql:///db", {"PGHOST": "db.example.org"}, False),
        ("postgresql:///db", {"PGHOST": "/run/postgresql"}, True),
        ("postgresql://localhost/db", {"PGHOST": "db.example.org"}, True),
        ("postgresql://127.0.0.2/db", {}, True),
        ("postgresql://[::1]/db", {}, True),
        ("postgresql://localhost,other/db", {}, False),
        ("postgresql:///db?host=/run/postgresql", {}, True),
        ("mysql://db/app", {}, False),
        ("mysql://db/app?unix_socket=/run/mysqld.sock", {}, True),
    ],
)
def test_local_databases_are_known(url: str, environ: dict[str, str], *, local: bool) -> None:
    """Files, sockets and loopback are local; every one of several hosts has to be."""
    assert local == is_local(url, environ)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("postgres://u:p@h/db", "postgresql+asyncpg://u:p@h/db", True),
        ("postgresql://u:p@h/db?sslmode=require", "postgresql+asyncpg://u:p@h/db?ssl=require", True),
        ("postgresql://u:p%21@h/db", "postgresql://u:p!@h/db", True),
        ("postgresql://u:p@h/db", "postgresql://u:q@h/db", False),
        ("postgresql://u:p@h/db", "postgresql://u:p@h/other", False),
        ("postgresql://u:p@h/db", "postgresql://u:p@h/db?options=-csearch_path%3Da", False),
        ("postgresql://u:p@h/db", "mysql://u:p@h/db", False),
        ("postgresql://u:p@h/db", "no url", False),
    ],
)
def test_the_same_database_is_recognised(one: str, other: str, *, equal: bool) -> None:
    """Whatever driver is named; not with another user, password, database or search path."""
    assert equal == same(one, other) == same(other, one)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///app.db", "sqlite:////srv/app.db"),
        ("sqlite+aiosqlite:///./data/app.db?timeout=5", "sqlite+aiosqlite:////srv/data/app.db?timeout=5"),
        ("sqlite:////abs/app.db", "sqlite:////abs/app.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://h/app.db", "postgresql://h/app.db"),
    ],
)
def test_a_sqlite_path_is_made_absolute(url: str, expected: str) -> None:
    """It is relative to the working directory, which another process may not share."""
    assert expected == absolute(url, Path("/srv"))
