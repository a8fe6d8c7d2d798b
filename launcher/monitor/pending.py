"""Which reports has no plugin taken yet?

A file beside each, `<id>.pending`, so that the monitor after us, or the next run, tells them again. Several launchers
may have one folder: whose a file is, is told by a second file that its owner keeps locked as long as it lives, since a
pid says nothing where containers share a volume.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.monitor.disk import Do, Done

_SUFFIX = ".pending"
_OWNER = ".reporter-"
_MOST_BYTES = 1 << 16
_MOST_NAMES = 2000  # characters of those who have taken it: they are sent with the report
_OWNER_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)  # part of the name of a file
_NOT_A_LINK_OR_PIPE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Pending:
    """The files of one monitor. Nothing here raises: without them the reports of a run are told in this run only."""

    def __init__(self, folder: Path | None, cwd: str, do: Do) -> None:
        """Keep them in `folder`. `cwd`: of the application: what another one has left there is not ours to tell.

        do: `Disk.do`, which has another process do it: what that knows of `_lock` and `_names` is told by its answers.
        """
        self._do = do
        self._folder, self._key = folder, f"{zlib.crc32(cwd.encode(errors='replace')):08x}"
        self._owner = os.urandom(6).hex()
        self._lock: int | None = None  # None: nobody sees that we live
        self._fd = -1  # where the lock is ours; in the child another
        self._names: set[str] = set()

    def note(self, number: str, taken_by: Sequence[str]) -> None:
        """Write down which plugins have taken the report `number` so far."""
        if self._folder is not None:
            self._names.add(number)
            self._aside(lambda folder: self._note(folder, number, taken_by))

    def done(self, number: str, then: Callable[[], None]) -> None:
        """Every plugin has taken it; `then` is called when that is noted."""
        if self._folder is None:
            then()
        else:
            self._names.discard(number)
            self._aside(lambda folder: self._done(folder, number), lambda _: then())

    def left(self, then: Callable[[dict[str, list[str]]], None]) -> None:
        """Take over what a monitor of this application that is no more has left: id -> plugins that have it."""

        def taken_over(found: Any) -> None:
            self._names |= (found or {}).keys()
            then(found or {})

        if self._folder is None:
            then({})
        else:
            self._aside(self._take_over, taken_over)

    def _aside(self, job: Callable[[Path], Any], then: Callable[[Any], None] | None = None) -> None:
        """Have it done by the child, and hold the lock that it has taken."""

        def work() -> Done:
            before = self._lock
            said = job(self._folder or Path())
            new = -1 if self._lock is None or self._lock == before else self._lock
            return Done([self._lock is not None, said], new)

        def done(found: Done) -> None:
            is_held, said = found.said or (True, None)
            if self._fd >= 0 and (found.fd >= 0 or not is_held):
                os.close(self._fd)
                self._fd, self._lock = -1, None
            if found.fd >= 0:
                self._fd = self._lock = found.fd
            if then is not None:
                then(said)

        self._do(work, done)

    # In the child:

    def _note(self, folder: Path, number: str, taken_by: Sequence[str]) -> None:
        content = json.dumps({"of": self._key, "owner": self._owner, "taken_by": list(taken_by)})
        path, half = folder / f"{number}{_SUFFIX}", folder / f".{number}{_SUFFIX}"
        with contextlib.suppress(OSError):
            self._show_life(folder)
            half.unlink(missing_ok=True)  # of a monitor that was killed while it wrote
            with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
                file.write(content)
            half.replace(path)

    def _done(self, folder: Path, number: str) -> None:
        with contextlib.suppress(OSError):
            (folder / f"{number}{_SUFFIX}").unlink()
        if not self._names:
            self._lie_down(folder)

    def _take_over(self, folder: Path) -> dict[str, list[str]]:
        with contextlib.suppress(OSError):
            return dict(sorted(self._adopted(folder)))
        return {}

    def _adopted(self, folder: Path) -> Iterator[tuple[str, list[str]]]:
        names = os.listdir(folder)  # noqa: PTH208 - names are what is looked at
        owners = {name.removeprefix(_OWNER) for name in names if name.startswith(_OWNER)}
        notes = [name for name in names if name.endswith(_SUFFIX) and not name.startswith(".")]
        told = {self._read(folder / name).get("owner", "") for name in notes}
        for owner in filter(_OWNER_ID.fullmatch, (owners | told) - {self._owner}):
            with _end_of(folder / f"{_OWNER}{owner}") as has_ended:
                if has_ended:
                    yield from self._of(owner, folder, notes)

    def _of(self, owner: str, folder: Path, notes: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield what `owner` has left, ours from now on; what there is no report for any more is removed."""
        for name in notes:
            found = self._read(folder / name)  # again: who looked at the same time may have been quicker
            if found.get("owner") != owner or found.get("of") != self._key:
                continue
            number = name.removesuffix(_SUFFIX)
            taken_by = found["taken_by"]
            if (folder / f"{number}.json").exists():
                self._names.add(number)
                self._note(folder, number, taken_by)
                yield number, taken_by
            else:
                (folder / name).unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            with open(os.open(path, os.O_RDONLY | _NOT_A_LINK_OR_PIPE), "rb") as file:  # noqa: PTH123 - a descriptor
                found = json.loads(file.read(_MOST_BYTES)) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return found if _is_note(found) else {}

    def _show_life(self, folder: Path) -> None:
        if self._lock is None:
            self._lock = os.open(folder / f"{_OWNER}{self._owner}", os.O_RDWR | os.O_CREAT, 0o600)
            _is_locked(self._lock)

    def _lie_down(self, folder: Path) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (folder / f"{_OWNER}{self._owner}").unlink()
            self._lock = None


def _is_note(found: object) -> bool:
    """Tell whether this is what `note` writes."""
    match found:
        case {"of": str(), "owner": str(), "taken_by": list(names)}:
            return all(isinstance(who, str) for who in names) and len(json.dumps(names)) <= _MOST_NAMES
        case _:
            return False


@contextlib.contextmanager
def _end_of(path: Path) -> Iterator[bool]:
    """Yield whether the owner of this file has ended, nobody else being told so meanwhile; then remove it."""
    try:
        fd = os.open(path, os.O_RDWR | _NOT_A_LINK_OR_PIPE)
    except FileNotFoundError:
        yield True
        return
    except OSError:  # another user's
        yield False
        return
    try:
        has_ended = _is_locked(fd)
        yield has_ended
        if has_ended:
            path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _is_locked(fd: int) -> bool:
    """Tell whether the lock of a file is ours now; True also where files cannot be locked: better twice than never."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, ImportError):
        return True
    return True
