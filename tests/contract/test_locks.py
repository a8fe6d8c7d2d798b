"""Does every lock type keep what `launcher.locks` promises?"""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.locks import Held, Lock, LockContext, Owner
from launcher.locks.file import FileLock
from launcher.testing import LockContract, MemoryLock, MemoryServer


def context(cwd: Path, pid: int, where: str = "", namespace: str = "") -> LockContext:
    """Return what a lock is made with."""
    return LockContext(where=where, cwd=cwd, owner=Owner(host="here", pid=pid, release=None), namespace=namespace)


def unlink(held: Held) -> bool:
    """Remove the lock file behind the holder's back."""
    [descriptor] = held.descriptors()
    Path(f"/proc/self/fd/{descriptor}").readlink().unlink()
    return True


class TestFileLock(LockContract):
    """The file lock in the project's own folder."""

    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path) -> None:
        self.cwd = tmp_path

    def contender(self, pid: int) -> Lock:
        """Return a contender for the default lock of the project."""
        return FileLock(context(self.cwd, pid))

    def other_namespace(self, pid: int) -> Lock:
        """Return a contender for the lock of another name in the same project."""
        return FileLock(context(self.cwd, pid, namespace="other"))

    def lose(self, held: Held) -> bool:
        """Remove the lock file."""
        return unlink(held)


class TestFileLockElsewhere(LockContract):
    """The file lock at a path of the user's, in a folder that does not exist yet."""

    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path) -> None:
        self.cwd = tmp_path

    def contender(self, pid: int) -> Lock:
        """Return a contender for `--lock file:deep/er/my.lock`."""
        return FileLock(context(self.cwd, pid, "deep/er/my.lock"))

    def other_namespace(self, pid: int) -> Lock:
        """Return a contender of another project at the same path."""
        return FileLock(context(self.cwd, pid, "deep/er/my.lock", "other"))

    def lose(self, held: Held) -> bool:
        """Remove the lock file."""
        return unlink(held)

    def test_namespaces_do_not_block_each_other(self) -> None:
        """On the contrary: one path is one lock for all who name it; only the records are apart."""
        held = self.held(1)
        refused = self.other_namespace(2).try_acquire()
        held.release()

        assert refused is None


class TestMemoryLock(LockContract):
    """The fake that plugins' tests use."""

    @pytest.fixture(autouse=True)
    def _with(self, tmp_path: Path) -> None:
        self.cwd, self.server = tmp_path, MemoryServer()

    def contender(self, pid: int) -> Lock:
        """Return a contender for the test's one lock."""
        return MemoryLock(context(self.cwd, pid), self.server)

    def other_namespace(self, pid: int) -> Lock:
        """Return a contender for another lock."""
        return MemoryLock(context(self.cwd, pid, namespace="other"))

    def lose(self, held: Held) -> bool:
        """Let the server end the session."""
        self.server.lose()
        return self.server.holder is not held
