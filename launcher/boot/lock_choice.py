"""Under which lock do the steps run?

The one that was asked for; else the one in the database that the first migration works on, since all who would migrate
it meet there; else in DATABASE_URL's; else a lock file, which covers this host only. What should be locked and cannot
be is refused: an unknown database is no reason for no lock (evidence/locks.md §5, rule 4).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import time
from collections.abc import Mapping, Sequence

from launcher.boot.context import Context
from launcher.boot.guarded import GRACE_S
from launcher.boot.lock_side import CONNECT_S, SAY_EVERY_S
from launcher.boot.release import known_release
from launcher.databases import absolute, database_name, parse, redact
from launcher.errors import DependencyDown, LauncherError, StepFailed, UsageError
from launcher.locks import OPTIONS, Lock, LockContext, Owner
from launcher.log import log
from launcher.origin import Ignored, OriginKind
from launcher.plan import PlannedLock, PlannedStep
from launcher.plugins import BUILT_IN, load_kind
from launcher.settings.nearest import nearest
from launcher.settings.topics import Settings

_AGAIN_S = (0.5, 1.5)
_OF_URLS = frozenset({*BUILT_IN["locks"], "postgres", "sqlite3"} - {"file"})
_CURE = "--lock URL (LAUNCHER_LOCK) names a database to lock in; --lock file is enough for one host"


def asked_lock(settings: Settings) -> PlannedLock | None:
    """Return the lock that was asked for by name, unopened; None for `auto`. Raises UsageError."""
    asked = settings.prestart.lock
    if asked.value == "auto":
        return None
    return _planned(asked.value, settings, settings.environ, str(asked.origin))


def choose_lock(
    settings: Settings,
    steps: Sequence[PlannedStep],
    context: Context,
    *,
    patience_s: float = CONNECT_S,
    before_exports: bool = False,
) -> PlannedLock:
    """Return the lock, unopened. The steps are asked which database they work on, if nothing else says it.

    `before_exports`: a script may export what env.py needs; until then an env.py that cannot tell is no error.
    Raises UsageError for what cannot be locked in, StepFailed and DependencyDown when the database cannot be told.
    """
    if asked := asked_lock(settings):
        return asked
    patience_s = min(patience_s, settings.prestart.lock_timeout)
    for planned in steps:
        if planned.under_lock and hasattr(planned.step, "database_url"):
            try:
                url = _migrated(planned, context, patience_s)
            except StepFailed:
                if not before_exports:
                    raise
                break
            return _in(url, settings, context, f"{planned.name} works on it", getattr(planned.step, "database", None))
    return _in(context.environ.get("DATABASE_URL", "").strip(), settings, context, "DATABASE_URL")


def _in(url: str, settings: Settings, context: Context, because: str, database: str | None = None) -> PlannedLock:
    """Return the lock in a database; in a file where there is none, or one that only this process has."""
    if not url or _in_memory(url):
        because = "the database is in memory" if url else "no database is known"
        return _planned("file", settings, context.environ, because)
    return _planned(url, settings, context.environ, because, database)


def _migrated(planned: PlannedStep, context: Context, patience_s: float) -> str:
    """Return the URL of the database that a step works on, asked again while that database does not answer."""
    started, asked, said_at = time.monotonic(), False, -SAY_EVERY_S
    while True:
        url: str | None = getattr(planned.step, "database_url", None)
        if url is None and (asked or getattr(planned.step, "asking_failed", None) is None):
            planned.step.due(context)
            url = getattr(planned.step, "database_url", None)
        if url is not None:
            _check_whole(planned, url)
            return url
        failed = getattr(planned.step, "asking_failed", None)
        waited_s = time.monotonic() - started
        if failed is None or not failed.unreachable or waited_s >= patience_s:
            raise _unknown(planned, failed)
        if waited_s - said_at >= SAY_EVERY_S:
            said_at = waited_s
            log.info("launcher.database_awaited", step=planned.name, because=failed.text)
        asked = True
        context.watch.pause(random.uniform(*_AGAIN_S))  # noqa: S311 - jitter


def _check_whole(planned: PlannedStep, url: str) -> None:
    """Refuse a URL that does not lead there by itself: env.py's engine has something of its own that connects."""
    if not getattr(planned.step, "url_is_whole", True):
        raise UsageError(
            f"env.py of pre-start step {planned.name!r} connects to {redact(url)} in a way that its URL does not tell"
            " (creator, a do_connect listener), so no lock can be taken there",
            cure=_CURE,
        )


def _unknown(planned: PlannedStep, failed: object) -> LauncherError:
    """Return the error for a step that cannot say which database it works on: without a lock it is not run."""
    text, tail = getattr(failed, "text", "it does not say"), getattr(failed, "tail", "")
    if getattr(failed, "denied", False):
        return UsageError(
            f"the database of pre-start step {planned.name!r} ({planned.step.where()}) refuses this user: {text}",
            cure="correct user and password where env.py has its URL from (DATABASE_URL?)",
        )
    if getattr(failed, "unreachable", False):
        return DependencyDown(
            f"the database of pre-start step {planned.name!r} does not answer: {text}",
            cure='start or create it, or correct the URL; a [[prestart]] wait-for = "env:DATABASE_URL" waits longer',
            detail=tail,
        )
    return StepFailed(
        f"pre-start step {planned.name!r} ({planned.step.where()}) does not tell which database it works on: {text}",
        cure=f"look at env.py; or {_CURE}",
        detail=tail,
    )


def _in_memory(url: str) -> bool:
    try:
        parts = parse(url)
    except ValueError:
        return False
    return parts.dialect == "sqlite" and parts.database in {"", ":memory:"}


def _planned(
    text: str, settings: Settings, environ: Mapping[str, str], because: str, database: str | None = None
) -> PlannedLock:
    """Return the lock of this spelling, in the database that a step calls so. Raises UsageError."""
    scheme, _, rest = text.partition(":")
    word = _word(text, scheme)
    if word not in BUILT_IN["locks"] and word not in _plugin_words(settings.plugins):
        raise _no_such_lock(word, because, settings.plugins)
    kind: type[Lock] = load_kind("locks", word, settings.plugins)
    context = _context(scheme, rest, settings, environ)
    if database is None and word in BUILT_IN["locks"] and word != "file":
        database = database_name(absolute(text, settings.cwd))
    return PlannedLock(
        lock=kind(context),
        because=because,
        database=database,
        owner=context.owner,
        again=lambda owner: kind(dataclasses.replace(context, owner=owner)),
        ignored=_ignored(kind, settings),
    )


def _context(scheme: str, where: str, settings: Settings, environ: Mapping[str, str]) -> LockContext:
    """Return what the lock is made with. Its owner's release is the one that is known without any work."""
    prestart = settings.prestart
    release = known_release(prestart.release, environ)
    return LockContext(
        where=where,
        scheme=scheme,
        cwd=settings.cwd,
        owner=Owner(host=_host_name(), pid=os.getpid(), release=release.value if release else None),
        namespace=prestart.namespace or "",
        expiry_s=prestart.lock_expiry,
        kill_grace_s=GRACE_S,
        ledger_table=prestart.ledger_table,
        orphans=prestart.orphans,
    )


def _ignored(kind: type[Lock], settings: Settings) -> tuple[Ignored, ...]:
    """Return what was set and is of no use to this type of lock."""
    because = f"a lock of type {kind.kind!r} has no use for it"
    unused = sorted(OPTIONS - getattr(kind, "uses", OPTIONS))  # a plugin may be older than this attribute
    said = [(name, settings.origins[name].origin) for name in unused if name in settings.origins]
    return tuple(Ignored(name, origin, because) for name, origin in said if origin.kind != OriginKind.DEFAULT)


def _no_such_lock(word: str, because: str, plugins: tuple[str, ...]) -> UsageError:
    near = nearest(word, sorted({"auto", *_OF_URLS, *BUILT_IN["locks"], *_plugin_words(plugins)}))
    hint = f"did you mean {near!r}? " if near else ""
    return UsageError(f"there is no lock for {word!r} ({because})", cure=hint + _CURE)


def _word(text: str, scheme: str) -> str:
    """Return the word that the lock type is registered under: a URL's dialect, whatever driver it names."""
    if "://" not in text:
        if scheme.partition("+")[0] in _OF_URLS:
            raise UsageError(f"--lock {scheme}:... is no URL: {scheme}://user@host/database", cure=_CURE)
        return scheme
    try:
        return parse(text).dialect
    except ValueError as error:
        raise UsageError(f"--lock: {error}", cure=_CURE) from None


@functools.cache
def _plugin_words(modules: tuple[str, ...]) -> set[str]:
    from launcher.plugins import words  # reads every installed distribution's metadata

    return words("locks", modules)


def _host_name() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "unknown")
