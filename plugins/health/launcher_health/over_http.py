"""Does a page answer?"""

from __future__ import annotations

import http.client
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_WELL = range(200, 400)


class NotWell(Exception):
    """The answer is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a page is; `login` is the header's value, or empty."""

    host: str
    port: int | None
    path: str
    tls: bool
    login: str = field(default="", repr=False)


def parse(url: str) -> Page:
    """Return what a URL says. Raises ValueError, without its password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the port of the URL is not a number") from None
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an address of the web: http://host:port/path or https://...")
    login = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"Basic {b64encode(pair.encode()).decode()}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Page(host=parts.hostname, port=port, path=path, tls=parts.scheme.lower() == "https", login=login)


def get(page: Page, timeout_s: float) -> None:
    """Ask for it; redirects are answers. Raises NotWell, OSError or http.client's errors."""
    kind = http.client.HTTPSConnection if page.tls else http.client.HTTPConnection
    connection = kind(page.host, page.port, timeout=timeout_s)
    headers = {"Connection": "close", "User-Agent": "asgi-launcher"}
    try:
        connection.request("GET", page.path, headers=headers | ({"Authorization": page.login} if page.login else {}))
        status = connection.getresponse().status
    finally:
        connection.close()
    if status not in _WELL:
        raise NotWell(f"answered with {status}")
