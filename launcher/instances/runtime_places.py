"""Where may the management socket of a launcher be?

A probe, a person's shell and the launcher seldom have the same environment, so whoever looks goes through every place
that a launcher of this user could have chosen, and the launcher takes the first that is safe: another user must not be
able to put a socket of his there, or to take ours away. A place that was named is the only one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

FOLDER = "launcher"
# Not TMPDIR, which differs between a shell, cron and systemd. /dev/shm can be written in most containers whose root
# file system is read-only.
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a private folder below them, its owner checked
_RUN = Path("/run")
_OTHERS_WRITE = 0o022
_OURS = re.compile(r"launcher-(\d+)")


class Place(NamedTuple):
    """A folder for sockets; a tuple, because importing dataclasses would cost a probe a quarter of its time.

    `private`: below a directory where everybody may make folders; nobody else may have any right to write there.
    """

    path: Path
    owner: int
    private: bool = False


def places(
    environ: Mapping[str, str], uid: int | None = None, *, run: Path = _RUN, temporary: tuple[str, ...] = TEMPORARY
) -> list[Place]:
    """Return where a launcher of this user puts its socket, the best first; whether they are there is not asked."""
    uid = user() if uid is None else uid
    given = environ.get("XDG_RUNTIME_DIR", "")
    folders = [Path(given) / FOLDER] if os.path.isabs(given) else []  # noqa: PTH117 - the specification's word for it
    folders += [run / "user" / str(uid) / FOLDER, run / FOLDER]
    found = [Place(folder, uid) for folder in dict.fromkeys(folders)]
    return found + [Place(Path(parent) / f"{FOLDER}-{uid}", uid, private=True) for parent in temporary]


def others(*, run: Path = _RUN, temporary: tuple[str, ...] = TEMPORARY) -> Iterator[Place]:
    """Yield the places of the other users of this host: root in a container looks after a launcher without root."""
    for parent in temporary:
        for name in _names(Path(parent)):
            if (match := _OURS.fullmatch(name)) and int(match[1]) != user():
                yield Place(Path(parent) / name, int(match[1]), private=True)
    for name in _names(run / "user"):
        if name.isdecimal() and int(name) != user():
            yield Place(run / "user" / name / FOLDER, int(name))


def why_not(place: Place) -> str:
    """Return why nobody should trust what is in this folder, or "" when it is in order.

    Raises FileNotFoundError when it is not there, PermissionError when it cannot be seen.
    """
    status = place.path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"{place.path} is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return f"{place.path} is not a folder"
    trusted = {place.owner} if place.private else {place.owner, 0}  # a volume, a mount: root's
    if status.st_uid not in trusted:
        return f"{place.path} belongs to uid {status.st_uid}, not to uid {place.owner}"
    if place.private and status.st_mode & _OTHERS_WRITE:
        return f"{place.path} can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def make(place: Place, *, named: bool = False) -> str:
    """Make the folder, mode 0700, unless it is there; return why it cannot be used, or "".

    `named`: somebody said that it shall be there; else nothing is made in a folder of another user (`sudo -E`).
    """
    try:
        if named or place.private or place.path.parent.stat().st_uid == place.owner:
            place.path.mkdir(mode=0o700, parents=named, exist_ok=True)
        because = why_not(place)
    except FileExistsError:  # a file, or a link to nothing
        return why_not(place)
    except OSError as error:
        return f"{place.path} cannot be made: {error.strerror}"
    writable = os.access(place.path, os.W_OK | os.X_OK)
    return because or ("" if writable else f"{place.path} cannot be written by uid {user()}")


def user() -> int:
    """Return whose launchers are meant: the effective user, who need not have a name."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def configured(environ: Mapping[str, str], cwd: Path = Path(), root: Path = Path("/")) -> str | None:
    """Return the `runtime_dir` of LAUNCHER_RUNTIME_DIR, the project's settings or the fleet's, or None.

    As `launcher.settings.load` has it, which a probe cannot wait for. A file that cannot be read is `run`'s to report.
    """
    if said := environ.get("LAUNCHER_RUNTIME_DIR", "").strip():
        return said
    named = environ.get("LAUNCHER_CONFIG", "")
    own = [named] if named.endswith(".toml") else ["launcher.toml", "pyproject.toml"]
    for path in (*(cwd / name for name in own), root / "etc" / "launcher.toml"):
        if (value := _runtime_dir_in(path)) is not None:
            return value
    return None


def _runtime_dir_in(path: Path) -> str | None:
    try:
        text = path.read_bytes()
        if b"runtime_dir" not in text:
            return None
        import tomllib  # 10 ms, for a file that has the word

        table = tomllib.loads(text.decode())
        own = table.get("tool", {}).get("launcher", {}) if path.name == "pyproject.toml" else table
        value = own.get("runtime_dir")
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, str) and value else None


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - 10 ms less in a full /tmp
    except OSError:
        return []
