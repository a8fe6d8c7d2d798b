"""What kinds of incidents are there?

The only list: for reports, for plugins (`launcher.records`) and for the metric. A module of its own since each of the
others costs memory that the rest do not need.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "crash",
    "boot-failed",
    "step-failed",
    "lock-lost",
    "lock-unavailable",
    "dependency-down",
    "memory-refused",
    "start-failed",
    "crash-loop",
    "unclean-end",
    "oom-kill",
]
