"""What does a step find in its environment?"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.locks import Held, Record
from launcher.plan import PlannedStep


def step_environ(
    planned: PlannedStep, environ: Mapping[str, str], held: Held | None, record: Record | None
) -> Mapping[str, str]:
    """Return the launcher's environment with what the lock and the record add.

    The lock's own wins over the user's: a successor knows what is left of us on the server by it (PGAPPNAME).
    """
    of_lock = held.environ() if held is not None else {}
    # Lines as they are written, unless somebody wants it otherwise; the names are ours, in a step of a step too.
    of_step = {"PYTHONUNBUFFERED": environ.get("PYTHONUNBUFFERED", "1"), "LAUNCHER_STEP_NAME": planned.name}
    if record is not None:  # the token lets a step write the record in a transaction of its own
        of_step |= {"LAUNCHER_STEP_TOKEN": str(record.token), "LAUNCHER_STEP_ATTEMPT": str(record.attempt)}
    return _with_our_python({**environ, **of_lock, **of_step})


def _with_our_python(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Let `python` in a step be the environment's own, as after activating it: systemd starts us by our full path."""
    ours, path = str(Path(sys.executable).parent), environ.get("PATH", os.defpath)
    return environ if ours in path.split(os.pathsep) else {**environ, "PATH": f"{ours}{os.pathsep}{path}"}
