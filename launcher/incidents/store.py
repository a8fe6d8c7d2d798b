"""Which reports are kept, and what do they say?

One file a report, named by its id, so that names sort by time. Several launchers may keep theirs in one folder:
together they stay within the bounds. Where there is no folder, or it takes nothing, reports are kept in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.incidents.report import ID, as_json, fitted

MOST = 100
MOST_BYTES = 16 << 20
MOST_BYTES_OF_ONE = 1 << 20
MOST_BYTES_IN_MEMORY = 1 << 20

_REPORT = re.compile(rf"({ID.pattern})\.json", re.ASCII)
_HALF_WRITTEN = re.compile(rf"\.{ID.pattern}\.\d+\.tmp", re.ASCII)
_LEFT_BEHIND_S = 600.0  # by a launcher that was killed while it wrote
_TURN_S, _LOOK_S = 0.25, 0.002  # who holds the folder longer was stopped: the report is worth more than the bound


class Store:
    """Reports in `folder`, at most `most` and `most_bytes` of them, the newest.

    because: why the last report was kept in memory, else "".
    """

    def __init__(
        self, folder: Path | None, most: int = MOST, most_bytes: int = MOST_BYTES, *, because: str = ""
    ) -> None:
        """Keep reports there; the folder is made at the first one. `because`: why there is none."""
        self.folder, self.most, self.most_bytes = folder, most, most_bytes
        self.because = "" if folder is not None else because or "there is no folder"
        self._in_memory: dict[str, dict[str, Any]] = {}

    def keep(self, report: Mapping[str, Any]) -> Path | None:
        """Write the report, complete or not at all, and return its path; None: it is in memory. Never raises."""
        if self.folder is None:
            self.remember(report)
            return None
        try:
            path = self._write(self.folder, report)
        except (OSError, ValueError) as error:
            self.because = f"{self.folder} takes no report: {getattr(error, 'strerror', None) or error}"
            self.remember(report)
            return None
        self.forget(path.stem)
        self.because = ""
        return path

    def remember(self, report: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Have it in memory; return those that had to give way: the oldest."""
        self._in_memory[str(report.get("id", ""))] = fitted(report, min(MOST_BYTES_IN_MEMORY, self.most_bytes))
        sizes = {one: len(as_json(report)) for one, report in self._in_memory.items()}
        gone = []
        for one in sorted(sizes):
            if len(sizes) <= self.most and sum(sizes.values()) <= min(MOST_BYTES_IN_MEMORY, self.most_bytes):
                break
            del sizes[one]
            gone.append(self._in_memory.pop(one))
        return gone

    def forget(self, number: str) -> None:
        """Have it in memory no more."""
        self._in_memory.pop(number, None)

    def remembered(self) -> list[dict[str, Any]]:
        """Return what is in memory, the newest first."""
        return [self._in_memory[one] for one in sorted(self._in_memory, reverse=True)]

    def all(self) -> list[dict[str, Any]]:
        """Return all that can be read, the newest first."""
        found = dict(self._in_memory)
        for name in self._names():
            if (report := self._read(name)) is not None:
                found[report["id"]] = report
        return [found[one] for one in sorted(found, reverse=True)]

    def find(self, prefix: str) -> dict[str, Any] | None:
        """Return the newest report whose id begins so; None when there is none."""
        ids = {name.removesuffix(".json") for name in self._names()} | self._in_memory.keys()
        for one in sorted((one for one in ids if prefix and one.startswith(prefix)), reverse=True):
            if (report := self._read(f"{one}.json") or self._in_memory.get(one)) is not None:
                return report
        return None

    def _write(self, folder: Path, report: Mapping[str, Any]) -> Path:
        name = str(report.get("id", ""))
        if not ID.fullmatch(name):
            raise ValueError(f"{name!r} is no id of a report")
        content = as_json(fitted(report, min(MOST_BYTES_OF_ONE, self.most_bytes)))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = folder / f".{name}.{os.getpid()}.tmp"
        try:
            _fill(half, content)
            with _turn(folder):
                self._make_room(folder, len(content), f"{name}.json")
                half.replace(folder / f"{name}.json")
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        return folder / f"{name}.json"

    def _make_room(self, folder: Path, needed_bytes: int, but: str) -> None:
        """Remove the oldest, so that one more fits; and what was left half written."""
        sizes = {}
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):  # another launcher removed it
                if _HALF_WRITTEN.fullmatch(entry.name):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFT_BEHIND_S:
                        os.unlink(entry.path)  # noqa: PTH108 - a string, as scandir gives it
                elif _REPORT.fullmatch(entry.name) and entry.name != but:
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode) and found.st_size <= MOST_BYTES_OF_ONE:  # else it is another's
                        sizes[entry.name] = found.st_size
        total = sum(sizes.values()) + needed_bytes
        oldest = sorted(sizes, reverse=True)
        while oldest and (len(oldest) >= self.most or total > self.most_bytes):
            total -= sizes[name := oldest.pop()]
            _remove(folder / name)

    def _names(self) -> list[str]:
        if self.folder is None:
            return []
        try:
            return [name for name in os.listdir(self.folder) if _REPORT.fullmatch(name)]  # noqa: PTH208 - names
        except OSError:
            return []

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return the report in a file; None for what is not one: half of it, another's, a link, a pipe."""
        if self.folder is None:
            return None
        try:
            report = json.loads(_content(self.folder / name))
        except (OSError, ValueError, RecursionError):  # RecursionError: brackets by the thousand
            return None
        return report if isinstance(report, dict) and f"{report.get('id')}.json" == name else None


def _fill(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)


def _content(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("not a file")
        return file.read(2 * MOST_BYTES_OF_ONE)


def _remove(path: Path) -> None:
    """Remove a report with what is said about it (`.pending`: no plugin has taken it yet)."""
    for one in (path, path.with_suffix(".pending")):
        with contextlib.suppress(OSError):
            one.unlink()


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Wait, not long, until no other launcher makes room; where folders cannot be locked, go on at once."""
    fd = None
    with contextlib.suppress(OSError, ImportError):
        import fcntl

        fd = os.open(folder, os.O_RDONLY)
        deadline = time.monotonic() + _TURN_S
        while not _locked(fd, fcntl.LOCK_EX | fcntl.LOCK_NB) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _locked(fd: int, how: int) -> bool:
    import fcntl

    try:
        fcntl.flock(fd, how)
    except BlockingIOError:
        return False
    return True
