"""How is one process of this host the only one?

`filelock` over flock(2) on a file that is never unlinked: a waiter may hold the old inode. Never its soft lock: a lock
of ours does not silently become another. The kernel drops it with the last descriptor, and the step guard has one, so
that a kill -9 of the holder frees the lock only after the step's tree is dead.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from launcher.errors import LockLost, UsageError
from launcher.locks import Holder, LockContext
from launcher.locks.file_ledger import FileLedger, HolderNote
from launcher.state import check_only_place, make_state_dir, state_dir

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph", "lustre"}
_MOUNTINFO = Path("/proc/self/mountinfo")
_DEFAULT = "prestart.lock"
_POLL_S = (0.02, 0.12)  # a look costs two system calls; jittered, so that twenty waiters do not look in step
_HEARTBEAT_S = 2.0  # evidence/locks.md §3 (H)
_MARGIN_S = 1.0  # to notice it and to kill, on a busy host


class FileLock:
    """A lock file with its ledger beside it; keeps `launcher.locks.Lock`."""

    kind: ClassVar[str] = "file"
    hosts: ClassVar[Literal["this host", "every host"]] = "this host"
    uses: ClassVar[frozenset[str]] = frozenset()  # the kernel keeps it, its records are a file

    def __init__(self, context: LockContext) -> None:
        """Choose the file. Raises UsageError for a folder."""
        self._context = context
        self.path, whose = self._choose(context)
        if os.path.isdir(self.path):  # noqa: PTH112 - Path.is_dir raises where a folder above cannot be entered
            raise UsageError(f"the lock {self.path} is a folder", cure=f"--lock file:{self.path}/prestart.lock")
        stem = self.path.name.removesuffix(".lock")  # no more of it: app.v1 and app.v2 are two locks with two ledgers
        self.note = HolderNote(self.path.with_name(f"{stem}.holder{whose}.json"))
        self.ledger = FileLedger(self.path.with_name(f"{stem}.ledger{whose}.json"), context.owner)

    def _choose(self, context: LockContext) -> tuple[Path, str]:
        """Return the lock file, and what the names of its neighbours have besides.

        It is what the user wrote after `file:`, else `prestart.lock` in the project's state folder.
        """
        if not context.where:
            name = f"{as_name(context.namespace)}.lock" if context.namespace else _DEFAULT
            return state_dir(context.cwd) / name, ""
        return context.cwd / context.where, f"@{without_dots(context.namespace)}" if context.namespace else ""

    @property
    def where(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def warning(self) -> str | None:
        """What is to be said about where the file is: flock may be local to each host of a network file system."""
        kind = filesystem(self.path.parent)
        return f"{self.path} is on {kind}: the lock may not reach other hosts" if kind in _NETWORK else None

    @property
    def look(self) -> str:
        """The command that shows who has the file open: waiters have it only for an instant."""
        return f"fuser -v {shlex.quote(str(self.path))}"

    @property
    def poll_s(self) -> tuple[float, float]:
        """See `Lock.poll_s`."""
        return _POLL_S

    def try_acquire(self) -> FileHeld | None:
        """Take it or return None; see `Lock.try_acquire`. Raises UsageError where no lock file can be had."""
        from filelock import FileLock as Flock  # 40 ms that a start with nothing to do saves
        from filelock import Timeout

        descriptors: list[int] = []
        lock = Flock(
            self.path,
            fallback_to_soft=False,
            preserve_lock_file=True,
            thread_local=False,
            on_acquired=descriptors.append,
        )
        try:
            self._make_folder()
            lock.acquire(blocking=False)
        except Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            raise UsageError(
                f"the lock file {self.path} cannot be used: {getattr(error, 'strerror', None) or error}",
                cure="give --lock file:PATH a path that every replica on this host can write",
            ) from error
        held = FileHeld(self, lock, descriptors[-1], self._context)
        self._check_place(held)
        return held

    def _make_folder(self) -> None:
        if self._context.where:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        else:
            make_state_dir(self.path.parent, self._context.cwd)

    def _check_place(self, held: FileHeld) -> None:
        """Look again, now that the lock file is there: `filelock` makes a folder anew that somebody has removed."""
        if self._context.where:
            return
        try:
            check_only_place(self.path.parent, self._context.cwd)
        except UsageError:
            held.release()
            raise

    def mark(self) -> object:
        """Return what differs with each ledger file: every write replaces it. None without one."""
        try:
            status = self.ledger.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size  # an inode is used again, a clock has ticks

    def ask(self, url: str, sql: str) -> list[tuple[object, ...]] | None:  # noqa: ARG002 - the Protocol's
        """No connection is open: None."""
        return None

    def holder(self) -> Holder | None:
        """Tell what the holder wrote about itself."""
        return self.note.read()

    def close(self) -> None:
        """Nothing is open between tries."""


class FileHeld:
    """The lock while it is ours; keeps `launcher.locks.Held`."""

    heartbeat_s: float | None = _HEARTBEAT_S
    give_up_s: float | None = None  # the kernel gives it to nobody while we are stopped or cannot look

    def __init__(self, lock: FileLock, flock: object, descriptor: int, context: LockContext) -> None:
        """Keep filelock's object alive: it lets go of a lock that is collected."""
        self._lock, self._flock, self._descriptor, self._owner = lock, flock, descriptor, context.owner
        self._inode = os.fstat(descriptor).st_ino
        # The file is free only when the last descriptor is closed, and the step guard has one. Where another file was
        # held before, somebody has removed that one, and its holder may not know it yet. As long as it holds it, or
        # its guard does, no new file gets the same number.
        replaced = lock.note.inode() not in {None, self._inode}
        self.takeover_s: float = _HEARTBEAT_S + context.kill_grace_s + _MARGIN_S if replaced else 0.0
        self._since = time.time()
        self._given_back = False

    def confirm(self) -> None:
        """Look whether the file is still the one that others would lock; see `Held.confirm`.

        The kernel takes a flock from nobody, but a cleaner of temporary files may have unlinked the file.
        """
        try:
            ours = not self._given_back and os.path.samestat(os.fstat(self._descriptor), self._lock.path.stat())
        except OSError:
            ours = False
        if not ours:
            raise LockLost(f"the lock {self._lock.where} was lost: its file has been removed, replaced or given back")

    def watched(self) -> int | None:
        """Nothing tells at once that a file was removed: None."""
        return None

    def descriptors(self) -> tuple[int, ...]:
        """The lock file's descriptor, for the step guard."""
        return (self._descriptor,)

    def environ(self) -> Mapping[str, str]:
        """No server has to tell our steps apart."""
        return {}

    def orphans(self) -> tuple[str, ...]:
        """None: the kernel keeps the lock as long as a predecessor's guard is there."""
        return ()

    def say_step(self, step: str) -> None:
        """Write the note for those who wait."""
        self._lock.note.write(self._owner, step, self._since, self._inode)

    def release(self) -> None:
        """Give it back; see `Held.release`."""
        try:
            self.confirm()
            self._lock.note.remove()  # before the lock goes: the next holder writes its own
        finally:
            self._given_back = True
            self._flock.release()  # type: ignore[attr-defined]  # filelock is imported only when a lock is taken


def without_dots(namespace: str) -> str:
    """Return a namespace as a part of a file name that has dots elsewhere, so that it is no other's."""
    return as_name(namespace).replace(".", "%2E")


def as_name(namespace: str) -> str:
    """Return a namespace as a part of a file name: not a place elsewhere."""
    return namespace.replace("%", "%25").replace("/", "%2F")


def filesystem(path: Path, mountinfo: Path = _MOUNTINFO) -> str | None:
    """Return the type of the file system that `path` is on (`ext4`, `nfs4`); None where it cannot be told."""
    best, kind = -1, None
    with contextlib.suppress(OSError):
        wanted = path.resolve().parts
        for mount, mounted in _mounted(mountinfo):
            at = mount.parts
            if wanted[: len(at)] == at and len(at) >= best:  # what is mounted over it comes later (autofs, then nfs4)
                best, kind = len(at), mounted
    return kind


def mounts(mountinfo: Path = _MOUNTINFO) -> frozenset[Path]:
    """Return where something is mounted; nothing where that cannot be told."""
    with contextlib.suppress(OSError):
        return frozenset(mount for mount, _ in _mounted(mountinfo))
    return frozenset()


def _mounted(mountinfo: Path) -> Iterator[tuple[Path, str]]:
    """Yield place and type of each mount, in their order (proc(5): field 5, and the first after the dash)."""
    for line in mountinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        mount, _, rest = line.partition(" - ")
        yield Path(mount.split()[4].replace("\\040", " ")), rest.split()[0]
