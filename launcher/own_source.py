"""What is the application's own source?

The files under its folder that decide what a release does: code, migrations, settings, pinned requirements. Not what
was installed, generated or written by the application itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_SUFFIXES = (".py", ".mako", ".sql", ".sh", ".lock")
_NAMES = frozenset({"launcher.toml", "pyproject.toml", "alembic.ini", "Pipfile", "pylock.toml"})
_NOT_OURS = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages", "__pypackages__"})
_CHUNK = 1024 * 1024
# An image without WORKDIR starts in `/`, where the operating system is no part of the application.
_OF_THE_SYSTEM = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "media", "mnt", "nix", "proc"}
    | {"run", "sbin", "sys", "tmp", "usr", "var", "Library", "System", "Volumes", "private", "cores"}
)


def source_files(cwd: Path) -> Iterator[tuple[str, Path]]:
    """Yield (relative path with slashes, path) of the application's own files, unsorted, as far as they can be read."""
    yield from _below(os.fspath(cwd), "", _OF_THE_SYSTEM if cwd == cwd.parent else frozenset())


def source_hash(cwd: Path) -> str:
    """Return the sha256 (hex) over the sorted relative paths and the bytes of the application's own files."""
    return hash_files(sorted(source_files(cwd)))


def hash_files(files: list[tuple[str, Path]], *, first: bytes = b"") -> str:
    """Return the sha256 (hex) over `first` and each (name, path): names and contents with their lengths."""
    digest = hashlib.sha256(_framed(first))
    for name, path in files:
        digest.update(_framed(os.fsencode(name)))
        _hash_content(digest, path)
    return digest.hexdigest()


def _framed(content: bytes) -> bytes:
    """Return the content after its length: two files never look like one with the bytes of both."""
    return b"%d:%b" % (len(content), content)


def _hash_content(digest: hashlib._Hash, path: Path) -> None:
    """Add a file after its length, in chunks: a dump of a database among the migrations is larger than the memory."""
    try:
        with open(path, "rb", buffering=0, opener=_opened_file) as file:
            digest.update(b"%d:" % os.fstat(file.fileno()).st_size)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:  # a dangling link, a file without permission: its state is part of the answer too
        digest.update(_framed(f"unreadable {error.errno}".encode()))


def _opened_file(path: str, flags: int) -> int:
    """Open without waiting for a pipe's writer. Raises OSError for what is no file: a pipe has no end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EISDIR, "not a file")


def _below(folder: str, prefix: str, skipped: frozenset[str]) -> Iterator[tuple[str, Path]]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:
        return
    if any(entry.name == "pyvenv.cfg" for entry in found):
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            if not (entry.name.startswith(".") or entry.name in _NOT_OURS or entry.name in skipped):
                yield from _below(entry.path, f"{prefix}{entry.name}/", frozenset())
        elif _is_source(entry.name) and _is_file(entry):
            yield prefix + entry.name, Path(entry.path)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link that is no other thing: Kubernetes mounts are links, and a dangling one counts."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110 - of an entry


def _is_source(name: str) -> bool:
    if name.startswith(".") or ".launcher." in name:  # a lock file and a ledger of ours, beside a SQLite database
        return False
    return name.endswith(_SUFFIXES) or name in _NAMES or (name.startswith("requirements") and name.endswith(".txt"))
