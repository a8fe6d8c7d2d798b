"""What do the tests of the command line share?"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.launched import http_get

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched

# Writes `who start|end ns` lines; what is killed writes no end.
JOURNAL = """
import os, time

def write(what, who=None):
    line = f"{who or os.getpid()} {what} {time.monotonic_ns()}\\n".encode()
    file = os.open("journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, line)  # one write of a short line is not torn apart
    os.close(file)
"""
APPENDS = """
import sys
open(sys.argv[1] if len(sys.argv) > 1 else "done", "a").write("x")
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal; `at` in nanoseconds of the monotonic clock."""

    who: str
    what: str
    at: int


def journal(folder: Path) -> list[Entry]:
    """Return what was written until now, in the order it was written."""
    path = folder / "journal"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Entry(who, what, int(at)) for who, what, at in (line.split() for line in lines)]


def ledger(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the project's own ledger."""
    path = folder / ".launcher" / "prestart.ledger.json"
    return list(json.loads(path.read_text())["records"]) if path.exists() else []


def serving(launched: Launched, port: int) -> dict[str, Any]:
    """Return what the application of `support.serving.APP` says, once it answers."""
    return dict(json.loads(launched.wait_http(port)[1]))


def times(folder: Path, name: str = "done") -> int:
    """Return how often `APPENDS` has run."""
    path = folder / name
    return len(path.read_text()) if path.exists() else 0


def error_of(launched: Launched) -> str:
    """Return the one message of a start that ended: sentences before the log begins, else one event."""
    event = launched.event("launcher.start_failed")
    if event is None:
        return launched.stderr
    return "\n".join(str(event[name]) for name in ("message", "cure", "detail") if name in event)


def answers(port: int) -> bool:
    """Tell whether somebody answers there."""
    return http_get(port) is not None


def toml(*steps: str, head: str = "") -> str:
    """Return a launcher.toml with these steps; `{python}` is our interpreter."""
    tables = "\n".join(f"[[prestart]]\n{step}\n" for step in steps)
    return f"{head}\n{tables}".replace("{python}", sys.executable)
