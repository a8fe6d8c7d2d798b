"""Which checks are written in `health_checks.toml`?

Of the working directory. One `[[check]]` each: what is checked (`database`, `redis`, `http`, `tcp`, `disk`, `alembic`),
and if need be `name`, `group`, `interval`, `timeout`. `$NAME` is the value of an environment variable.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launcher import HealthCheck, PluginSettings, hookimpl
from launcher.units import seconds
from launcher_health import alembic_at_head, database, disk, http, redis, tcp

launcher_only_with = "health_checks.toml"  # without this file no process is started for us
FILE = launcher_only_with
_OPTIONS = frozenset({"name", "group", "interval", "timeout"})
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>\w+))", re.ASCII)


def _tcp(address: str, **options: Any) -> HealthCheck:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("not HOST:PORT")
    return tcp(host.removeprefix("[").removesuffix("]"), int(port), **options)


_KINDS: Mapping[str, Callable[..., HealthCheck]] = {
    "alembic": alembic_at_head,
    "database": database,
    "disk": disk,
    "http": http,
    "redis": redis,
    "tcp": _tcp,
}


@hookimpl
def launcher_health_checks(settings: PluginSettings) -> list[HealthCheck]:
    """Return the checks of the file, none when there is no file. Raises ValueError, which names the check."""
    try:
        text = (settings.cwd / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return list(read(text, os.environ))


def read(text: str, environ: Mapping[str, str]) -> Iterator[HealthCheck]:
    """Yield the checks that `text` (TOML) says. Raises ValueError."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{FILE}: {error}") from None
    tables = content.pop("check", [])
    if content or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{FILE}: there is nothing in it but [[check]]")
    for number, table in enumerate(tables, 1):
        try:
            yield _check(table, environ)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{FILE}, check {number}: {error}") from None


def _check(table: Mapping[str, Any], environ: Mapping[str, str]) -> HealthCheck:
    kinds = sorted(table.keys() & _KINDS.keys())
    if len(kinds) != 1:
        raise ValueError(f"exactly one of {', '.join(_KINDS)} says what is checked")
    (kind,) = kinds
    known = _OPTIONS | {kind} | ({"free"} if kind == "disk" else set())
    if unknown := sorted(table.keys() - known):
        raise ValueError(f"unknown key {unknown[0]!r}: {', '.join(sorted(known))}")
    options = {name: _duration(value) if name in {"interval", "timeout"} else value for name, value in table.items()}
    return _KINDS[kind](_value(kind, options.pop(kind), environ), **options)


def _duration(value: object) -> object:
    return seconds(value) if isinstance(value, str) else value


def _value(kind: str, value: object, environ: Mapping[str, str]) -> str:
    """Return the text with environment variables in it. Raises ValueError, with the name of a missing one."""
    if not isinstance(value, str):
        raise TypeError(f"{kind}: {value!r} is no text")

    def variable(match: re.Match[str]) -> str:
        name = match["braced"] or match["plain"]
        if name not in environ:
            raise ValueError(f"{kind}: the environment variable {name} is not set")
        return environ[name]

    return _VARIABLE.sub(variable, value)
