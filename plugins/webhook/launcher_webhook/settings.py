"""Which receivers are there, and what does each get?

`LAUNCHER_WEBHOOK_URL` (URLs with commas between them; `LAUNCHER_WEBHOOK_SECRET` signs what they get), and the
`[[webhook]]` tables of `launcher-webhook.toml` in the working directory, where `$NAME` is an environment variable.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from launcher.records import Kind
from launcher.units import seconds

FILE, URL, SECRET = "launcher-webhook.toml", "LAUNCHER_WEBHOOK_URL", "LAUNCHER_WEBHOOK_SECRET"
Format = Literal["json", "slack"]
KINDS = frozenset(get_args(Kind))
TIMEOUT_S = 5.0
# The launcher leaves a call behind after 10 s: launcher/hookspecs.py.
LEAST_TIMEOUT_S, LONGEST_TIMEOUT_S = 0.1, 8.0

_KEYS = frozenset({"url", "format", "secret", "kinds", "timeout"})
_SLACK = "hooks.slack.com"  # takes nothing but its own shape
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>\w+))", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver.

    place: where it was set, for people. url, secret: neither is ever shown, as the path of a URL may be a password
    (Slack's is). kinds: of incidents; empty for all.
    """

    place: str
    url: str = field(repr=False)
    format: Format
    secret: str = field(default="", repr=False)
    kinds: frozenset[str] = frozenset()
    timeout_s: float = TIMEOUT_S

    def __str__(self) -> str:
        """Return its place and host."""
        return f"{self.place} ({urlsplit(self.url).hostname})"


def read(folder: Path, environ: Mapping[str, str]) -> tuple[Webhook, ...]:
    """Return the receivers of the environment, then those of the file. Raises ValueError: what is wrong, and where."""
    return (*_of_environment(environ), *_of_file(folder / FILE, environ))


def _of_environment(environ: Mapping[str, str]) -> Iterator[Webhook]:
    urls = [url.strip() for url in environ.get(URL, "").split(",") if url.strip()]
    for number, url in enumerate(urls, 1):
        place = f"{URL}, number {number}" if len(urls) > 1 else URL
        try:
            yield _webhook({"url": url, "secret": environ.get(SECRET, "").strip()}, place)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: {error}") from None


def _of_file(path: Path, environ: Mapping[str, str]) -> Iterator[Webhook]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # no TOML, no UTF-8
        raise ValueError(f"{FILE}: {error}") from None
    tables = content.pop("webhook", [])
    if content or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{FILE}: there is nothing in it but [[webhook]]")
    for number, table in enumerate(tables, 1):
        place = f"{FILE}, webhook {number}"
        try:
            yield _webhook(_with_variables(table, environ), place)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: {error}") from None


def _webhook(table: Mapping[str, Any], place: str) -> Webhook:
    if unknown := sorted(table.keys() - _KEYS):
        raise ValueError(f"unknown key {unknown[0]!r}: {', '.join(sorted(_KEYS))}")
    url = _url(table.get("url"))
    return Webhook(
        place=place,
        url=url,
        format=_format(table.get("format", "slack" if urlsplit(url).hostname == _SLACK else "json")),
        secret=_text("secret", table.get("secret", "")),
        kinds=_kinds(table.get("kinds", [])),
        timeout_s=_timeout_s(table.get("timeout", TIMEOUT_S)),
    )


def _url(value: object) -> str:
    """Return a URL that can be asked; the errors do not repeat it."""
    url = _text("url", value) if value is not None else ""
    if not url:
        raise ValueError("url: missing")
    try:
        parts = urlsplit(url)
        fit = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fit = False
    if not fit or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("url: not an address of the web: https://host/path or http://host:port/path")
    return url


def _format(value: object) -> Format:
    if value == "json" or value == "slack":  # noqa: PLR1714 - what a type checker understands
        return value
    raise ValueError(f"format: {value!r} is neither 'json' nor 'slack'")


def _kinds(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise TypeError(f'kinds: {value!r} is no list, such as ["crash", "crash-loop"]')
    if unknown := [kind for kind in value if kind not in KINDS]:
        raise ValueError(f"kinds: there is no {unknown[0]!r}: {', '.join(sorted(KINDS))}")
    return frozenset(value)


def _timeout_s(value: object) -> float:
    try:
        timeout_s = seconds(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"timeout: {error}") from None
    if (
        isinstance(timeout_s, int | float)
        and LEAST_TIMEOUT_S <= timeout_s <= LONGEST_TIMEOUT_S
        and timeout_s is not True
    ):
        return float(timeout_s)
    raise ValueError(f"timeout: {value!r} is not from {LEAST_TIMEOUT_S:g} to {LONGEST_TIMEOUT_S:g} seconds")


def _with_variables(table: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    def expanded(key: str, text: str) -> str:
        def variable(match: re.Match[str]) -> str:
            name = match["braced"] or match["plain"]
            if not environ.get(name, "").strip():  # an empty secret would sign nothing, silently
                raise ValueError(f"{key}: the environment variable {name} is not set")
            return environ[name].strip()

        return _VARIABLE.sub(variable, text)

    return {
        key: expanded(key, value) if key in {"url", "secret"} and isinstance(value, str) else value
        for key, value in table.items()
    }


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{key}: not a text, but {type(value).__name__}")
    return value
