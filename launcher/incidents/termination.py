"""What does the platform read after the container has ended?

Kubernetes shows the end of `terminationMessagePath` (at most 4096 bytes of a container) in the pod's status, also when
the whole container was killed at once: so it is written ahead, at each change of state.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from launcher.masking import masked

MOST_BYTES = 4096  # https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
_USUAL = Path("dev/termination-log")


class TerminationLog:
    """The file; no path: nothing is written. because: why the last text could not be written, else ""."""

    def __init__(self, path: Path | None) -> None:
        """Write to `path`, which is made when it is missing."""
        self.path, self.because = path, ""
        self._written = ""

    def write(self, text: str) -> None:
        """Replace what is there by the first whole lines of `text`, unless they are there already. Never raises."""
        if self.path is None or not (content := _fitting(masked(text))) or content == self._written:
            return
        try:
            _overwrite(self.path, content.encode())
        except (OSError, ValueError) as error:
            self.because = f"{self.path} cannot be written: {getattr(error, 'strerror', None) or error}"
        else:
            self._written, self.because = content, ""


def default_path(root: Path = Path("/")) -> Path | None:
    """Return Kubernetes' own path when it is a file that can be written; None elsewhere."""
    path = root / _USUAL
    try:
        usable = stat.S_ISREG(path.stat().st_mode) and os.access(path, os.W_OK)
    except OSError:
        return None
    return path if usable else None


def _fitting(text: str) -> str:
    """Return what 4096 bytes hold: whole lines, or the beginning of the first."""
    text = text.strip("\n")
    content = f"{text}\n".encode()
    if not text or len(content) <= MOST_BYTES:
        return f"{text}\n" if text else ""
    kept = content[: MOST_BYTES - 1]
    lines = kept[: kept.rfind(b"\n")] if b"\n" in kept else kept
    return lines.decode(errors="ignore") + "\n"


def _overwrite(path: Path, content: bytes) -> None:
    """Write over what is there, then cut: at no moment is it empty, and a bind mount cannot be renamed over."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.write(fd, content)
            return
        written = os.pwrite(fd, content, 0)
        os.ftruncate(fd, written)
    finally:
        os.close(fd)
