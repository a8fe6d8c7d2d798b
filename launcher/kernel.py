"""What can a worker ask of the kernel?"""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

OOM_SCORE = Path("/proc/self/oom_score_adj")
_MOST_OOM_SCORE = 1000  # proc(5)
# One worker holds less than an arbiter that has preloaded: measured, without this the kernel kills the arbiter, and
# leaves its workers serving without one.
_MORE_OOM_SCORE = 300
_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Have the kernel kill us when the thread that started us ends (Linux). A change of user takes that back.

    signum: the signal that it sends.
    """
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # a C library without it: the event loop looks, too
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)


def trim_memory() -> None:
    """Give memory that was freed back to the system (glibc keeps much of it; malloc_trim(3))."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # musl has none, and keeps less
        ctypes.CDLL(None).malloc_trim(0)


def be_killed_first(path: Path = OOM_SCORE) -> None:
    """Have the kernel choose us, not our parent, when memory runs out. Call it once: it adds to what is there."""
    with contextlib.suppress(OSError, ValueError):  # not Linux, or /proc is read-only
        path.write_text(str(min(int(path.read_text()) + _MORE_OOM_SCORE, _MOST_OOM_SCORE)))
