"""How is the script of PRE_START_PATH run so that its exports reach the server?

The retired uvicorn-gunicorn images sourced it in the shell that then became the server (evidence/peers.md §4). Here a
shell of the step sources it, and its environment is reported at its end, however the script ends.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from launcher.settings.topics import OncePer, StepSettings
from launcher.steps import Command, Due, Finished, StepContext, checking

_OF_THE_SHELL = frozenset({"PWD", "OLDPWD", "SHLVL", "_"})
_OURS = "LAUNCHER_STEP_"
_SCRIPT = _OURS + "SCRIPT"
# One report: variables as NAME=value, each ended by NUL as in /proc/*/environ; an empty one ends the report.
_REPORT = (
    "import os,sys;"
    "open(int(sys.argv[1]),'wb',closefd=False)"
    ".write(b''.join(k+b'='+v+b'\\0' for k,v in os.environb.items())+b'\\0')"
)


class PreStartPathStep:
    """Runs at each start, in each replica: its exports are needed everywhere. One at a time."""

    once_per: ClassVar[OncePer] = "start"
    needs_lock: ClassVar[bool] = True
    tells_due: ClassVar[bool] = False

    def __init__(self, settings: StepSettings) -> None:
        """Raise UsageError unless the value is a path."""
        checking.options(settings)
        self._path = checking.text(settings, "the path of a script")

    def due(self, context: StepContext) -> Due:
        """Say whether there is a script; a missing one is no error (the images only said so)."""
        if not (context.cwd / self._path).is_file():
            return Due(due=False, because=f"There is no script {self._path}")
        return Due(due=True, because="its exports are needed at each start")

    def command(self, context: StepContext) -> Command:
        """Return the shell that sources it, or Python for a `.py` file (inboard's images ran those)."""
        path = context.cwd / self._path
        if path.suffix == ".py":
            return Command(argv=(sys.executable, str(path)))
        return Command(argv=(_shell(path), "-c", _wrapper()), environ={_SCRIPT: str(path)}, reports=True)

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:  # noqa: ARG002 - Protocol's
        """Return what the script changed: new and other values, and None for what it unset."""
        before, *after = _reports(result.report) or [{}]
        return _changes(before, after[-1]) if after else {}

    def where(self) -> str:
        """Return the path as it was given."""
        return self._path


def _shell(path: Path) -> str:
    """Return bash when the script's first line asks for it and it is there; the images had `sh` in any case."""
    with path.open("rb") as script:
        first = script.readline(200)
    return (first.startswith(b"#!") and b"bash" in first and shutil.which("bash")) or "/bin/sh"


def _wrapper() -> str:
    """Return what sources the script: a report before and one after, in a trap since the script may `exit`.

    Both reports come from the same program, so that what Python itself adds (LC_CTYPE) is in both. A script with an
    EXIT trap of its own replaces ours: its end is then reported only when it is reached.
    """
    report = shlex.join([sys.executable, "-S", "-E", "-c", _REPORT])
    return f"""
__launcher_fd=$LAUNCHER_STEP_REPORT_FD __launcher_reported=
__launcher_report() {{ __launcher_reported=1; {report} "$__launcher_fd" || :; }}
__launcher_report; __launcher_reported=
trap '__launcher_status=$?; [ "$__launcher_reported" ] || __launcher_report; exit "$__launcher_status"' EXIT
set -e
. "${_SCRIPT}"
__launcher_report
"""


def _reports(data: bytes) -> list[dict[str, str]]:
    """Return the environments in the order they were reported; one that was cut short is not counted."""
    reports = (report.split(b"\0") for report in data.split(b"\0\0")[:-1])
    return [dict(_pair(os.fsdecode(entry)) for entry in entries) for entries in reports]


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    changed: dict[str, str | None] = {name: value for name, value in after.items() if before.get(name) != value}
    changed |= dict.fromkeys(before.keys() - after.keys())
    return {name: value for name, value in changed.items() if name not in _OF_THE_SHELL and not name.startswith(_OURS)}
