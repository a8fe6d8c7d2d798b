"""Which plugin is meant, and is it usable?

Kinds (step types, lock types, servers) are classes under a word: of ours, of a module named in `plugins = [...]`
(`launcher_steps = {"word": Class}`, likewise `launcher_locks`, `launcher_servers`), or of an installed distribution's
entry point (`launcher.steps`, `launcher.locks`, `launcher.servers`). Only what is named is loaded, and a broken one is
named in the error.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from launcher.errors import PluginError, UsageError

Kind = Literal["steps", "locks", "servers"]

# The same words as the entry points in pyproject.toml (a test holds them equal): reading the installed distributions'
# metadata costs 35 ms, which a start with no plugin does not pay. A built-in word cannot be taken over by a plugin.
BUILT_IN: dict[Kind, dict[str, str]] = {
    "steps": {
        "alembic": "launcher.steps.alembic:AlembicStep",
        "call": "launcher.steps.call:CallStep",
        "pre-start-path": "launcher.steps.pre_start_path:PreStartPathStep",
        "run": "launcher.steps.command:RunStep",
        "wait-for": "launcher.steps.wait_for:WaitForStep",
    },
    "locks": {
        "file": "launcher.locks.file:FileLock",
        "mariadb": "launcher.locks.mysql:MysqlLock",
        "mysql": "launcher.locks.mysql:MysqlLock",
        "postgresql": "launcher.locks.postgresql:PostgresqlLock",
        "sqlite": "launcher.locks.sqlite:SqliteLock",
    },
    "servers": {
        "gunicorn": "launcher.servers.gunicorn:GunicornServer",
        "uvicorn": "launcher.servers.uvicorn:UvicornServer",
    },
}


@dataclass(frozen=True, slots=True)
class Offer:
    """One word on offer: what it leads to (`module:attribute`) and who brings it. Of a hook: its name."""

    kind: Kind | Literal["hooks"]
    word: str
    target: str
    distribution: str
    version: str


def load_kind(kind: Kind, word: str, modules: Sequence[str] = ()) -> Any:
    """Return the class behind a word. Raises UsageError (unknown word) or PluginError (broken, named)."""
    if target := BUILT_IN[kind].get(word):
        return _resolve(target, f"built-in {kind[:-1]} {word!r}")
    for name in modules:
        if word in (table := _table(name, kind)):
            return table[word]
    found = [offer for offer in installed() if (offer.kind, offer.word) == (kind, word)]
    if len({offer.target for offer in found}) > 1:
        names = " and ".join(sorted(offer.distribution for offer in found))
        raise PluginError(f"{kind[:-1]} {word!r} is brought by {names}", cure="uninstall one of them")
    if not found:
        raise _unknown(kind, word, modules)
    return _resolve(found[0].target, f"{kind[:-1]} {word!r} of {found[0].distribution} {found[0].version}")


def words(kind: Kind, modules: Sequence[str] = ()) -> set[str]:
    """Return every word that `load_kind` would find, without loading an entry point."""
    ours = {*BUILT_IN[kind], *(offer.word for offer in installed() if offer.kind == kind)}
    return ours.union(*(_table(name, kind) for name in modules))


def installed() -> Iterator[Offer]:
    """Yield what installed distributions offer."""
    from importlib.metadata import entry_points  # 35 ms

    kinds: tuple[Kind, ...] = ("steps", "locks", "servers")
    for kind in kinds:
        for point in entry_points(group=f"launcher.{kind}"):
            name, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
            yield Offer(kind, point.name, point.value, name, version)


def in_modules(modules: Sequence[str]) -> Iterator[Offer]:
    """Yield what the modules of `plugins = [...]` offer."""
    for name in modules:
        for kind in BUILT_IN:
            for word, value in _table(name, kind).items():
                yield Offer(kind, word, f"{value.__module__}:{value.__qualname__}", f"module {name}", "")


def with_hooks(modules: Sequence[str], import_dir: Path) -> Iterator[Offer]:
    """Yield the hooks of installed distributions and of modules, as far as their sources tell."""
    from launcher.hook_plugins import hook_plugins

    for plugin in hook_plugins(modules, import_dir, unused=True):
        name, _, version = plugin.who.rpartition(" ")
        who = (plugin.who, "") if name in {"", "module"} else (name, version)
        for hook in plugin.hooks:
            yield Offer("hooks", hook, plugin.target, *who)


def _table(name: str, kind: Kind) -> dict[str, Any]:
    table = getattr(_module(name), f"launcher_{kind}", {})
    if not isinstance(table, dict) or not all(isinstance(value, type) for value in table.values()):
        raise PluginError(f"plugin {name}: launcher_{kind} is not a dictionary of word -> class")
    return table


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a plugin's import may raise anything; it is named and contained
        raise PluginError(f"plugin {name}: {type(error).__name__}: {error}", cure="see `plugins = [...]`") from error


def _resolve(target: str, who: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:  # a plugin's import may raise anything; it is named and contained
        raise PluginError(f"{who}: {target}: {type(error).__name__}: {error}") from error
    if not isinstance(value, type):
        raise PluginError(f"{who}: {target} is not a class")
    return value


def _unknown(kind: Kind, word: str, modules: Sequence[str]) -> UsageError:
    known = sorted(words(kind, modules))
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(
        f"unknown {kind[:-1]} type {word!r}",
        cure=f"{hint}known: {', '.join(known)}; more by plugin (`launcher plugins`)",
    )
