"""What does this file of the kernel say, if anything?

Every path is the one the process itself sees (`/proc/meminfo`); `root` is put before it only to open it, so that a
recorded tree reads exactly as the host it came from. What is absent is None; what is there and cannot be used is
None and a note: a start never fails because a file of the kernel is odd.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

_DIGITS = 20  # of a number of 64 bits


@dataclass(frozen=True, slots=True)
class Tree:
    """The files below `root`, and the notes made while reading them."""

    root: Path
    notes: list[str] = field(default_factory=list)

    def exists(self, path: str) -> bool:
        """Return whether `path` can be seen at all."""
        return os.path.exists(f"{self.root}/{path}")  # noqa: PTH110 - pathlib raises for odd paths before 3.12

    def text(self, path: str) -> str | None:
        """Return the stripped content of `path`; None when absent or, with a note, when unreadable."""
        try:
            return Path(f"{self.root}/{path}").read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as problem:
            reason = problem.strerror or problem if isinstance(problem, OSError) else "it is not text"
            self.note(f"{path} could not be read ({reason}): passed over")
            return None

    def number(self, path: str, *, none: tuple[str, ...] = ()) -> int | None:
        """Return the whole number in `path`; None when absent, one of the words in `none`, or (noted) odd."""
        text = self.text(path)
        return None if text is None or text in none else self.as_number(text, path)

    def as_number(self, text: str, path: str) -> int | None:
        """Return `text` as a whole number; None and a note that names `path` when it is none."""
        try:
            return int(text)
        except ValueError:
            self.note(f"{path} says {text[:40]!r}, which is not a number: passed over")
            return None

    def table(self, path: str) -> dict[str, str]:
        """Return a `name value` or `name: value kB` file as name -> first word; empty when there is none."""
        rows = (line.split() for line in (self.text(path) or "").splitlines())
        return {row[0].rstrip(":"): row[1] for row in rows if len(row) > 1}

    def note(self, sentence: str) -> None:
        """Keep `sentence` for the reader, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


def whole(text: str) -> int | None:
    """Return a number as the kernel writes it; None for what is none."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None
