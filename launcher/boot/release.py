"""Which release is this?

`once_per = "release"` goes by it, so two releases must never share an id: a tag that moves (`latest`) or an empty value
is worse than none (evidence/locks.md §4). Without an id from outside, the application's own source is the release.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.errors import UsageError
from launcher.origin import Ignored, Origin, OriginKind, Sourced
from launcher.own_source import hash_files, source_hash

__all__ = ["content_key", "ignored_releases", "known_release", "release_id", "source_hash"]

# In this order (evidence/locks.md §4). HEROKU_SLUG_COMMIT is the older name and can be stale in pipelines.
_PLATFORMS = (
    "HEROKU_BUILD_COMMIT",
    "HEROKU_SLUG_COMMIT",
    "RENDER_GIT_COMMIT",
    "RAILWAY_GIT_COMMIT_SHA",
    "RAILWAY_DEPLOYMENT_ID",
    "FLY_IMAGE_REF",
    "K_REVISION",
    "CONTAINER_IMAGE",
)
_MUTABLE = frozenset(
    {"latest", "head", "main", "master", "trunk", "dev", "develop", "development", "stable", "edge", "nightly"}
    | {"current", "unknown", "none", "null", "nil", "undefined", "local", "test", "staging", "prod", "production"}
)
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_UNEXPANDED = re.compile(r"\$\w|\$\{|\$\(|\{\{|<.*>")
_CURE = "give --release something that changes with each release (a commit, an image digest), or leave it out"


def release_id(explicit: Sourced[str] | None, cwd: Path, environ: Mapping[str, str] = os.environ) -> Sourced[str]:
    """Return the release id: given, else the platform's, else `source-` and a hash of the application's own source.

    Raises UsageError for a given id that is empty or names different releases at different times.
    """
    if known := known_release(explicit, environ):
        return known
    return Sourced(f"source-{source_hash(cwd)[:32]}", Origin(OriginKind.DEFAULT, f"the source below {cwd}"))


def known_release(explicit: Sourced[str] | None, environ: Mapping[str, str] = os.environ) -> Sourced[str] | None:
    """Return the release id that was given or that the platform tells, None without one. Raises as `release_id`."""
    if explicit is not None:
        if why := _unfit("", explicit.value):
            raise UsageError(f"the release id {explicit.value!r} ({explicit.origin}) {why}", cure=_CURE)
        return Sourced(explicit.value.strip(), explicit.origin)
    for name in _PLATFORMS:
        value = environ.get(name)
        if value is not None and not _unfit(name, value):
            return Sourced(value.strip(), Origin(OriginKind.PLATFORM, name))
    return None


def ignored_releases(environ: Mapping[str, str] = os.environ) -> tuple[Ignored, ...]:
    """Return the platform's variables that are set but tell releases not apart, with the reason."""
    values = [(name, environ[name]) for name in _PLATFORMS if name in environ]
    return tuple(
        Ignored(name, Origin(OriginKind.PLATFORM, name), f"the value {value!r} {why}")
        for name, value in values
        if (why := _unfit(name, value))
    )


def content_key(files: Sequence[str], cwd: Path, command: str) -> str:
    """Return the sha256 (hex) over `command` and the files that the globs find below `cwd`.

    Raises UsageError when a glob finds nothing or leads outside: a misspelt one must not look unchanged for ever.
    """
    found: dict[str, Path] = {}
    for pattern in files:
        matches = {path.relative_to(cwd).as_posix(): path for path in _matches(pattern, cwd) if path.is_file()}
        if not matches:
            raise UsageError(f"files = [{pattern!r}] finds no file below {cwd}", cure="correct or remove the pattern")
        found |= matches
    if not found:
        raise UsageError('once_per = "content" needs files = [...]', cure='name what it goes by: files = ["seeds/**"]')
    return hash_files(sorted(found.items()), first=command.encode())


def _matches(pattern: str, cwd: Path) -> list[Path]:
    try:
        # Before Python 3.13 a pattern that ends in `**` finds folders alone.
        return list(cwd.glob(f"{pattern}/*" if pattern.endswith("**") else pattern))
    except (ValueError, NotImplementedError) as error:
        raise UsageError(f"files = [{pattern!r}]: {error}", cure="a glob below the working directory") from error


def _unfit(name: str, value: str) -> str:
    """Return why this value cannot be a release id, or nothing."""
    text = value.strip()
    if not text:
        return "is empty: all releases would share one record"
    if _UNEXPANDED.search(text):
        return "is a placeholder that nobody filled in"
    if name == "CONTAINER_IMAGE" and not _DIGEST.search(text):
        return "has no digest: a tag can be moved"
    if text.lower() in _MUTABLE or text.rpartition(":")[2].lower() in _MUTABLE:
        return "is not bound to one release"
    return ""
