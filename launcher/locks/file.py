"""How is one process of this host the only one?

`filelock` over flock(2) on a file that is never unlinked: a waiter may hold the old inode. Never its soft lock: a lock
of ours does not silently become another. The kernel drops it with the last descriptor, and the step guard has one, so
that a kill -9 of the holder frees the lock only after the step's tree is dead.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import ClassVar, Literal

from launcher.errors import UsageError
from launcher.locks import Holder, LockContext, Owner
from launcher.locks.file_ledger import FileLedger, HolderNote
from launcher.state import check_only_place, make_state_dir, state_dir

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph", "lustre"}


class FileLock:
    """A lock file with its ledger beside it; keeps `launcher.locks.Lock`."""

    kind: ClassVar[str] = "file"
    hosts: ClassVar[Literal["this host", "every host"]] = "this host"

    def __init__(self, context: LockContext) -> None:
        """Choose the file: what the user wrote after `file:`, else `prestart.lock` in the project's state folder."""
        self._context = context
        self.path = context.cwd / context.where if context.where else state_dir(context.cwd) / _name(context)
        if os.path.isdir(self.path):  # noqa: PTH112 - Path.is_dir raises where a folder above cannot be entered
            raise UsageError(f"the lock {self.path} is a folder", cure=f"--lock file:{self.path}/prestart.lock")
        stem = self.path.name.removesuffix(".lock")  # no more of it: app.v1 and app.v2 are two locks with two ledgers
        whose = _whose(context)
        self._note = HolderNote(self.path.with_name(f"{stem}.holder{whose}.json"))
        self.ledger = FileLedger(self.path.with_name(f"{stem}.ledger{whose}.json"), context.owner)

    @property
    def where(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def warning(self) -> str | None:
        """What is to be said about where the file is: flock may be local to each host of a network file system."""
        kind = filesystem(self.path.parent)
        return f"{self.path} is on {kind}: the lock may not reach other hosts" if kind in _NETWORK else None

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
        held = FileHeld(lock, descriptors[-1], self._note, self._context.owner)
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

    def holder(self) -> Holder | None:
        """Tell what the holder wrote about itself."""
        return self._note.read()

    def close(self) -> None:
        """Nothing is open between tries."""


class FileHeld:
    """The lock while it is ours; keeps `launcher.locks.Held`."""

    heartbeat_s: float | None = None
    give_up_s: float | None = None

    def __init__(self, lock: object, descriptor: int, note: HolderNote, owner: Owner) -> None:
        """Keep the lock object alive: filelock lets go of a lock that is collected."""
        self._lock, self._descriptor, self._note, self._owner = lock, descriptor, note, owner
        self._since = time.time()

    def confirm(self) -> None:
        """Nothing to ask: the kernel takes a flock from nobody."""

    def descriptors(self) -> tuple[int, ...]:
        """The lock file's descriptor, for the step guard."""
        return (self._descriptor,)

    def say_step(self, step: str) -> None:
        """Write the note for those who wait."""
        self._note.write(self._owner, step, self._since)

    def release(self) -> None:
        """Give it back."""
        self._lock.release()  # type: ignore[attr-defined]  # filelock is imported only when a lock is taken


def _name(context: LockContext) -> str:
    return f"{_as_name(context.namespace)}.lock" if context.namespace else "prestart.lock"


def _whose(context: LockContext) -> str:
    """Return what tells apart the records of projects that share a lock file; without dots, so it is no other's."""
    shared = context.where and context.namespace
    return f"@{_as_name(context.namespace).replace('.', '%2E')}" if shared else ""


def _as_name(namespace: str) -> str:
    return namespace.replace("%", "%25").replace("/", "%2F")


def filesystem(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the type of the file system that `path` is on (`ext4`, `nfs4`); None where it cannot be told."""
    best, kind = -1, None
    with contextlib.suppress(OSError):
        wanted = path.resolve().parts
        for line in mountinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            mount, _, rest = line.partition(" - ")
            at = Path(mount.split()[4].replace("\\040", " ")).parts
            if wanted[: len(at)] == at and len(at) >= best:  # what is mounted over it comes later (autofs, then nfs4)
                best, kind = len(at), rest.split()[0]
    return kind
