"""What does a database URL say?

The spelling is SQLAlchemy's (`dialect[+driver]://user:password@host:port/database?option=value`), read without
SQLAlchemy: a start with nothing to do must not pay for its import. Several hosts may be given as libpq writes them
(`host1:5432,host2`) or as SQLAlchemy does (`?host=host1:5432&host=host2`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from launcher import redact as redaction

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.\-]*)://"
    r"(?:(?P<user>[^:/?]*?)(?::(?P<password>[^@]*))?@)?"  # user@server is a user, as for SQLAlchemy
    r"(?P<hosts>[^/?@]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_TORN = (  # without a part of the URL: what is left of the password is taken for a host, a database or an option
    "the database URL has an `@` too many: in a password or a name write %40 for @, %2F for /, %3F for ?, %3A for :"
)
_DIALECTS = {"postgres": "postgresql", "pgsql": "postgresql", "sqlite3": "sqlite"}  # older names that hosters still use
_OF_ONE_DRIVER = ("ssl", "prepared_statement", "async_fallback", "channel_binding")
_SECRET = re.compile(r"pass|pwd|secret|token|key$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrl:
    """The parts of one URL, percent-decoded. No host at all: a Unix socket, or a file."""

    dialect: str
    driver: str | None = None
    user: str | None = None
    password: str | None = None
    hosts: tuple[tuple[str, int | None], ...] = ()
    database: str = ""
    query: tuple[tuple[str, str], ...] = ()

    @property
    def has_secret(self) -> bool:
        """Whether it may not be written down."""
        return bool(self.password) or any(_SECRET.search(name) for name, _ in self.query)

    @property
    def target(self) -> tuple[str, tuple[tuple[str, int | None], ...], str]:
        """Which database it means, whatever driver, user and options are used to reach it."""
        return self.dialect, self.hosts, self.database

    def option(self, name: str) -> str | None:
        """Return the first value of an option, or None."""
        return next((value for key, value in self.query if key == name), None)


def parse(url: str) -> DatabaseUrl:
    """Return the parts. Raises ValueError, without the password in its text, for what is no database URL.

    And for one that SQLAlchemy would tear apart within the password: a driver's errors would tell the other half.
    """
    match = _URL.fullmatch(url.strip())
    if match is None and re.match(r"[A-Za-z][\w+.\-]*://", url.strip()):
        raise ValueError(_TORN)
    if match is None:
        raise ValueError(f"{redact(url)!r} is not a database URL: dialect://user:password@host:port/database")
    if _is_torn(match):
        raise ValueError(_TORN)
    dialect, _, driver = match["scheme"].lower().partition("+")
    query = tuple(parse_qsl(match["query"] or "", keep_blank_values=True))
    hosts = [text for text in match["hosts"].split(",") if text] or [
        value for key, given in query if key == "host" for value in given.split(",") if value
    ]
    return DatabaseUrl(
        dialect=_DIALECTS.get(dialect, dialect),
        driver=driver or None,
        user=unquote(match["user"]) if match["user"] else None,
        password=unquote(match["password"]) if match["password"] is not None else None,
        hosts=tuple(_host(text) for text in hosts),
        database=unquote(match["database"] or ""),
        query=tuple(pair for pair in query if pair[0] != "host"),
    )


def redact(url: str) -> str:
    """Return the URL with its secrets masked, for people."""
    # An unescaped `@` or `/` in a password is a mistake, and a secret all the same: up to the last `@`.
    text = re.sub(r"(://(?!\[)[^:/@?\s]*):[^\s]*@", rf"\1:{redaction.MASK}@", url)
    masked = re.sub(r"(?i)([?&;][^=&\s]*(?:pass|pwd|secret|token|key))=[^&\s]*", rf"\1={redaction.MASK}", text)
    return redaction.redact(masked)


def conceal(text: str, url: str) -> str:
    """Return a driver's message without the URL's password, in whatever spelling it is repeated there."""
    try:
        parts = parse(url)
    except ValueError:
        return redact(text)
    secrets = [value for name, value in parts.query if _SECRET.search(name)]
    secrets += [parts.password or ""]
    harmless = {"", parts.user, parts.database, *(host for host, _ in parts.hosts)}
    for secret in secrets:
        if secret not in harmless:
            for spelling in {secret, quote(secret, safe=""), quote(secret)}:
                text = text.replace(spelling, redaction.MASK)
    return redact(text)


def is_local(url: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the database is on this machine: SQLite, a Unix socket, loopback."""
    parts = parse(url)
    if parts.dialect == "sqlite" or parts.option("unix_socket"):
        return True
    hosts = [host for host, _ in parts.hosts]
    if not hosts and parts.dialect == "postgresql":  # libpq's own defaults, in its order
        hosts = [value for name in ("PGHOSTADDR", "PGHOST") if (value := environ.get(name))][:1]
    return all(_is_loopback(host) for each in hosts for host in each.split(","))


def absolute(url: str, cwd: Path) -> str:
    """Return the URL with the path of a SQLite file made absolute; any other URL as it is."""
    parts = parse(url)
    if parts.dialect != "sqlite" or not parts.database or parts.database.startswith((":memory:", "file:", "/")):
        return url
    head, _, rest = url.partition("://")
    _, mark, query = rest.partition("?")
    return f"{head}:///{quote(os.path.normpath(cwd / parts.database))}{mark}{query}"


def database_name(url: str) -> str:
    """Return the database without user, password and options: `sqlite:/path`, `postgresql://host:5432/name`.

    Raises ValueError for what is no database URL.
    """
    parts = parse(url)
    if parts.dialect == "sqlite":
        path = parts.database or ":memory:"
        return f"sqlite:{path if path.startswith((':memory:', 'file:')) else os.path.realpath(path)}"
    hosts = ",".join(host if port is None else f"{host}:{port}" for host, port in parts.hosts)
    return redact(f"{parts.dialect}://{hosts}/{parts.database}")


def same(one: str, other: str) -> bool:
    """Tell whether two URLs reach the same database as the same user, whatever driver they name."""
    try:
        first, second = parse(one), parse(other)
    except ValueError:
        return False
    return _bare(first) == _bare(second)


def _bare(parts: DatabaseUrl) -> DatabaseUrl:
    """Return the parts without what applications rewrite when they swap one driver for another."""
    kept = tuple(sorted(pair for pair in parts.query if not pair[0].startswith(_OF_ONE_DRIVER)))
    return replace(parts, driver=None, query=kept)


def _is_torn(match: re.Match[str]) -> bool:
    """Tell whether the true separator, a later `@`, is in what is taken for a database or an option's name."""
    behind = f"{match['database'] or ''}{(match['query'] or '').partition('=')[0]}"
    return "@" in behind and (match["user"] is not None or ":" in match["hosts"])


def _host(text: str) -> tuple[str, int | None]:
    """Return host and port. Raises ValueError for a port that is no number."""
    match = re.fullmatch(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>\d*))?", text)
    if match is None:
        if text.count(":") > 1 or text.startswith("/"):
            return unquote(text), None
        raise ValueError("the port of a database URL is not a number")  # no text: it may be half a password
    host = match["ipv6"] if match["ipv6"] is not None else match["name"]
    return unquote(host), int(match["port"]) if match["port"] else None


def _is_loopback(host: str) -> bool:
    return host.lower() in {"", "localhost", "::1"} or host.startswith(("127.", "/", "@"))
