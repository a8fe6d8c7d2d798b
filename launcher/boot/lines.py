"""How is what a step writes cut into lines?"""

from __future__ import annotations

import os
from dataclasses import dataclass

CHUNK = 64 * 1024
_LINE_BYTES = 16 * 1024  # a longer line is split: one step cannot fill our memory
_CONTINUES = 0b10  # the first bits of every byte of a UTF-8 character but its first (RFC 3629 §3)


@dataclass(slots=True)
class Stream:
    """One of the step's pipes, cut into lines."""

    name: str
    descriptor: int
    rest: bytes = b""

    def read(self) -> list[str] | None:
        """Return the complete lines that can be read now; None at the end of file."""
        data = os.read(self.descriptor, CHUNK)
        if not data:
            return None
        *complete, rest = (self.rest + data).split(b"\n")
        lines = [part for line in complete for part in _cut(line)]
        *more, self.rest = _cut(rest)
        return [line.decode(errors="replace").rstrip("\r") for line in (*lines, *more)]


def _cut(line: bytes) -> list[bytes]:
    """Return a line in parts of at most `_LINE_BYTES`, cut before the first byte of a UTF-8 character."""
    parts, start = [], 0
    while len(line) - start > _LINE_BYTES:
        end = start + _LINE_BYTES
        back = next((n for n in range(4) if line[end - n] >> 6 != _CONTINUES), 0)
        parts.append(line[start : end - back])
        start = end - back
    return [*parts, line[start:]]
