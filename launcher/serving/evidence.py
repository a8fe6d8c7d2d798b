"""What did a dying worker write down?

Tracebacks of a boot that failed, and the stacks that faulthandler writes when the process can do nothing else any more.
An anonymous file of each worker, made before it is started: what was written is there however the worker ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass

from launcher.crossing import anonymous_file
from launcher.masking import masked

MOST_BYTES = 1 << 20  # it is memory, and a worker may be asked for its stacks again and again


@dataclass(frozen=True, slots=True)
class Evidence:
    """The file behind a descriptor: a worker writes, who outlives it reads."""

    fd: int

    @classmethod
    def create(cls) -> Evidence:
        """Return a new one. Its descriptor is not inheritable; what is written is appended. Raises OSError."""
        fd = anonymous_file("launcher-evidence", b"")
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        return cls(fd)

    def write(self, text: str) -> None:
        """Append `text`. Never raises for the file, and writes nothing any more from one MiB on."""
        content = text.encode(errors="backslashreplace")
        with contextlib.suppress(OSError):  # no memory: what is said of the worker's death must not be its cause
            content = content[: max(0, MOST_BYTES - os.fstat(self.fd).st_size)]
            while content:
                content = content[os.write(self.fd, content) :]

    def read(self, limit: int = 65536) -> str:
        """Return what was written, passwords masked; of more than `limit` bytes the lines at both ends.

        A failed boot is told by the beginning, a hang by the end. Raises OSError.
        """
        size = os.fstat(self.fd).st_size
        if size <= limit:
            return masked(self._between(0, size))
        # Whole lines: of a URL that is cut, the password would not be found.
        head, tail = self._between(0, limit // 2), self._between(size - limit // 2, size)
        return masked("\n".join((head.rpartition("\n")[0], "[...]", tail.partition("\n")[2])))

    def close(self) -> None:
        """Let it go. Closed already is fine."""
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def _between(self, start: int, end: int) -> str:
        """Return the text of these bytes, by `pread`: the position in the file belongs to who writes."""
        content = b""
        while more := os.pread(self.fd, end - start - len(content), start + len(content)):
            content += more
        return content.decode(errors="replace")
