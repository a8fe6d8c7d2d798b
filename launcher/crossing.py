"""How does what was decided cross the exec?

As JSON in an inherited memfd: nothing of it is on the command line (`ps`) or in the environment (`/proc/PID/environ`,
crash reporters) but the descriptor's number. It is read by `pread` from the start, so that it can be read again.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping

PLAN_FD = "LAUNCHER_PLAN_FD"
_CHUNK_BYTES = 1 << 16
_NOT_ALLOWED = (errno.ENOSYS, errno.EPERM, errno.EACCES)  # by a container's list of system calls


def write_plan(plan: Mapping[str, object]) -> int:
    """Return a descriptor (not inheritable) of an anonymous file that holds `plan` as JSON."""
    return anonymous_file("launcher-plan", json.dumps(plan).encode())


def anonymous_file(name: str, content: bytes) -> int:
    """Return a descriptor (not inheritable, at its end) of a file without a path that holds `content`."""
    fd = _anonymous_file(name)
    while content:
        content = content[os.write(fd, content) :]
    return fd


def read_plan(environ: Mapping[str, str]) -> dict[str, object]:
    """Return what `write_plan` was given; empty when nothing was handed over. The descriptor gets CLOEXEC.

    Raises OSError or ValueError when the descriptor is not what we wrote.
    """
    if not (number := environ.get(PLAN_FD, "")):
        return {}
    fd = int(number)
    os.set_inheritable(fd, False)  # noqa: FBT003 - os's signature; it was for us, not for an application's programs
    plan = json.loads(_content(fd))
    if not isinstance(plan, dict):
        raise ValueError(f"{PLAN_FD}={number} is not a plan")  # noqa: TRY004 - as any other content that is not ours
    return plan


def _content(fd: int) -> bytes:
    chunks: list[bytes] = []
    while chunk := os.pread(fd, _CHUNK_BYTES, sum(map(len, chunks))):
        chunks.append(chunk)
    return b"".join(chunks)


def _anonymous_file(name: str) -> int:
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create(name)
        except OSError as error:
            if error.errno not in _NOT_ALLOWED:
                raise
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
