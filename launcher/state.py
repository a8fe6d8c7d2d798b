"""Where is kept what the starts of one project on one host share?

The lock file, the ledger and what was learnt have to be found by every replica, so the place follows from the project's
folder and not from HOME or TMPDIR, which differ between a shell, cron and systemd: two places would be two locks. It is
`.launcher/` in the project; where that cannot be written, a private folder under the host's temporary directory. That
one depends on who asks, so its name shows the project, and whoever finds another place of the same project stops.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import UsageError

FOLDER = ".launcher"
_TEMPORARY = ("/var/tmp", "/tmp", "/dev/shm")  # noqa: S108 - a private folder below them, its owner checked
_CURE = "give --lock file:PATH a path that every replica on this host can write"


def state_dir(cwd: Path, temporary: tuple[str, ...] = _TEMPORARY) -> Path:
    """Return the folder, without making it. Raises UsageError when another user's is in the way."""
    inside = cwd / FOLDER
    if os.access(inside if inside.exists() else cwd, os.W_OK | os.X_OK):
        return inside
    if inside.exists() and not _is_read_only(inside):
        raise UsageError(f"{inside} cannot be written by uid {_uid()}, so its lock cannot be shared", cure=_CURE)
    for parent in temporary:
        if os.access(parent, os.W_OK | os.X_OK):
            return Path(parent) / f"{_prefix(cwd)}{_uid()}"
    return inside


def make_state_dir(path: Path, cwd: Path | None = None, temporary: tuple[str, ...] = _TEMPORARY) -> Path:
    """Make the folder and return it; `cwd`: the project, by default the working directory.

    Raises UsageError when there is no place, when somebody else made it, or when the project has another place too.
    """
    private = path.name != FOLDER
    made = False
    try:
        made = _make(path, 0o700 if private else 0o777)
        if private:
            _check_private(path)
        check_only_place(path, cwd, temporary)
        if not private:
            _keep_out_of_git(path)
    except OSError as error:
        raise UsageError(f"no place for the lock: {path}: {error.strerror}", cure=_CURE) from error
    except UsageError:
        if made:  # left behind, it would be in the way of the place that was there before
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    return path


def check_only_place(path: Path, cwd: Path | None = None, temporary: tuple[str, ...] = _TEMPORARY) -> None:
    """Raise UsageError when the project has another place than `path`, which is there: each would have its own lock.

    Make first, then look: of two starts at the same time at least one sees the place of the other.
    """
    project = path.parent if path.name == FOLDER else (Path.cwd() if cwd is None else cwd)
    for other in _places(project, temporary):
        if not _is_same(other, path):
            raise UsageError(
                f"{path} would be a second lock of this project beside the one in {other}, of uid {_owner(other)}",
                cure=f"{_CURE}; or start every replica as one user, and remove {other} if nobody uses it any more",
            )


def _places(project: Path, temporary: tuple[str, ...]) -> Iterator[Path]:
    """Yield every place that a start of the project has made, whoever it was."""
    inside = project / FOLDER
    # One on a read-only file system came with the image (`COPY . .` of a used folder): nobody locks there.
    if os.path.lexists(inside) and not (inside.exists() and _is_read_only(inside)):
        yield inside
    private = re.compile(re.escape(_prefix(project)) + r"\d+")
    for parent in temporary:
        with contextlib.suppress(OSError):  # a parent that is not there, or may not be listed
            names = sorted(name for name in os.listdir(parent) if private.fullmatch(name))  # noqa: PTH208 - 10 ms less in a full /tmp
            yield from (Path(parent) / name for name in names)


def _prefix(project: Path) -> str:
    """Return the beginning of a private folder's name: what is the same for every user of the project."""
    return f"launcher-{hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:16]}-"


def _make(path: Path, mode: int) -> bool:
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        if not path.is_dir():
            raise
        return False
    return True


def _keep_out_of_git(path: Path) -> None:
    ignore = path / ".gitignore"
    if not ignore.exists() or not ignore.stat().st_size:  # empty: an earlier start found the disk full
        ignore.write_text("*\n", encoding="utf-8")


def _check_private(path: Path) -> None:
    """Refuse a folder in a shared directory that somebody else prepared (a link, another owner, open to all)."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != _uid() or status.st_mode & 0o022:
        raise UsageError(f"{path} is not a private folder of uid {_uid()}", cure=f"remove it, or {_CURE}")


def _is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths are one folder: /var/tmp may be a link to /tmp. One that has just gone is no other."""
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except OSError:
        return one == other or not os.path.lexists(one)


def _owner(path: Path) -> int | str:
    try:
        return path.lstat().st_uid
    except OSError:
        return "unknown"


def _is_read_only(path: Path) -> bool:
    """Tell whether nobody can lock there: a read-only file system, or a folder that was given back this moment."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        return True


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
