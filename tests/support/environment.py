"""Which environment does a process of a test start in?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "LAUNCH_TEST_ID"
# coverage reads its own at start in every process (its `patch = subprocess`).
_PASSED_ON = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START", "COVERAGE_CORE", "TMPDIR")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clean_environment(home: Path, mark: str, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return an environment with nothing of the developer's; `changes` win, and a None in them removes the name."""
    environment: dict[str, str | None] = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
        "PYTHONUNBUFFERED": "1",
    }
    environment |= changes or {}
    environment[MARK] = mark
    return {name: value for name, value in environment.items() if value is not None}
