"""What has an earlier start measured?

One file in the project's folder for what is shared (`launcher.state`), of the applications that were measured last. It
is a hint: one that cannot be read, or knows nothing of this application, release, Python and server, is none.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.budget import Measured

if TYPE_CHECKING:
    import datetime as dt

NAME = "memory.json"
_SCHEMA = 2
_MOST = 16  # of applications, releases, Pythons and servers together
_MOST_BYTES = 1 << 16
# None is there, it is another user's or no such file; Infinity; nested without end.
_SENSELESS = (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
_SIZES = ("worker_bytes", "shared_bytes", "peak_bytes", "files_bytes")


def recall(path: Path, key: str) -> Measured | None:
    """Return what was kept under `key`; None: nothing that is of use."""
    import datetime as dt  # a first start does without

    try:
        kept = _kept(path)[key]
        sizes = {name: int(kept[name]) for name in _SIZES}
        day = dt.datetime.fromisoformat(kept["at"]).date()
        provisional = bool(kept.get("provisional", True))
    except _SENSELESS:
        return None
    if sizes["worker_bytes"] <= 0 or min(sizes.values()) < 0:
        return None
    source = f"measured {day.isoformat()} by an earlier start"
    return Measured(**sizes, shmem_bytes=0, source=source, provisional=provisional)


def _kept(path: Path) -> dict[str, Any]:
    """Return what is kept by its key, the latest last. Raises OSError, or what else there is in `_SENSELESS`."""
    content = json.loads(_read(path))
    if content["schema"] != _SCHEMA:
        raise ValueError("of another version")
    return dict(content["measured"])


def _read(path: Path) -> bytes:
    """Return the content of a file of ours. Raises OSError; for a link, another user's or no file at all, too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {os.geteuid(), 0}:
            raise PermissionError(f"{path} is not a file of ours")
        return file.read(_MOST_BYTES)


def keep(path: Path, key: str, measured: Measured, at: dt.datetime) -> None:
    """Replace the file as a whole. Raises OSError. A power cut may cost it: then it is measured again.

    Two that do so at once lose one of both. Its folder is not made for it: that would become the place of the
    project's lock, of whoever started first.
    """
    others: dict[str, Any] = {}
    with contextlib.suppress(*_SENSELESS):
        others = _kept(path)
    others.pop(key, None)
    sizes = {name: getattr(measured, name) for name in _SIZES}
    latest = dict(list(others.items())[1 - _MOST :])
    latest[key] = {"at": at.isoformat(), "provisional": measured.provisional, **sizes}
    kept = {"schema": _SCHEMA, "measured": latest}
    beside = path.parent / f".{path.name}.{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
