"""Where is kept what the starts of one project on one host share?

The lock file, the ledger and what was learnt have to be found by every replica, so the place follows from the project's
folder and not from HOME or TMPDIR, which differ between a shell, cron and systemd: two places would be two locks. It is
`.launcher/` in the project; on a read-only file system a private folder under the host's temporary directory.
"""

from __future__ import annotations

import hashlib
import os
import stat
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
    name = hashlib.sha256(os.fsencode(cwd.resolve())).hexdigest()[:16]
    for parent in temporary:
        if os.access(parent, os.W_OK | os.X_OK):
            return Path(parent) / f"launcher-{_uid()}" / name
    return inside


def make_state_dir(path: Path) -> Path:
    """Make the folder and return it. Raises UsageError when there is no place, or when somebody else made it."""
    try:
        if path.name == FOLDER:
            path.mkdir(exist_ok=True)
            _keep_out_of_git(path)
        else:
            for private in (path.parent, path):  # one by one: with `parents` the mode would be the umask's
                private.mkdir(mode=0o700, exist_ok=True)
                _check_private(private)
    except OSError as error:
        raise UsageError(f"no place for the lock: {path}: {error.strerror}", cure=_CURE) from error
    return path


def _keep_out_of_git(path: Path) -> None:
    ignore = path / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def _check_private(path: Path) -> None:
    """Refuse a folder in a shared directory that somebody else prepared (a link, another owner, open to all)."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != _uid() or status.st_mode & 0o022:
        raise UsageError(f"{path} is not a private folder of uid {_uid()}", cure=f"remove it, or {_CURE}")


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
