"""Does every lock type keep what `launcher.locks` promises?"""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.locks import Lock, LockContext, Owner
from launcher.locks.file import FileLock
from launcher.testing import LockContract, MemoryLock, MemoryServer


def context(cwd: Path, pid: int, where: str = "") -> LockContext:
    """Return what a lock is made with."""
    return LockContext(where=where, cwd=cwd, owner=Owner(host="here", pid=pid, release=None), namespace="")


class TestFileLock(LockContract):
    """The file lock in the project's own folder."""

    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path) -> None:
        self.cwd = tmp_path

    def contender(self, pid: int) -> Lock:
        """Return a contender for the default lock of the project."""
        return FileLock(context(self.cwd, pid))


class TestFileLockElsewhere(LockContract):
    """The file lock at a path of the user's, in a folder that does not exist yet."""

    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path) -> None:
        self.cwd = tmp_path

    def contender(self, pid: int) -> Lock:
        """Return a contender for `--lock file:deep/er/my.lock`."""
        return FileLock(context(self.cwd, pid, "deep/er/my.lock"))


class TestMemoryLock(LockContract):
    """The fake that plugins' tests use."""

    @pytest.fixture(autouse=True)
    def _with(self, tmp_path: Path) -> None:
        self.cwd, self.server = tmp_path, MemoryServer()

    def contender(self, pid: int) -> Lock:
        """Return a contender for the test's one lock."""
        return MemoryLock(context(self.cwd, pid), self.server)
