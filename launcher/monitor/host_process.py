"""How is the process of the plugin host started?"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from launcher.crossing import PLAN_FD, write_plan


def spawn_host(plan: Mapping[str, Any], channel: int) -> int:
    """Start it in a session of its own, with its end of the channel; return its pid. Raises OSError."""
    crossing = write_plan(plan)
    try:
        return os.posix_spawn(
            sys.executable,
            (sys.executable, "-P", "-m", "launcher.plugin_host"),
            {**os.environ, PLAN_FD: str(crossing)},
            # dup2 onto itself clears close-on-exec in the child, and only there.
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (channel, crossing)],
            setsid=True,
        )
    finally:
        os.close(crossing)
