"""Who failed, and how often?"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from launcher.log import log


@dataclass(slots=True)
class Culprits:
    """Says each plugin's first failure of a hook and counts all; may be called from any thread.

    failures: plugin -> how often.
    """

    failures: Counter[str] = field(default_factory=Counter)
    _said: set[tuple[str, str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def failed(self, who: str, hook: str, because: str, exception: str = "") -> None:
        """Note a failure; `exception` is its traceback."""
        with self._lock:
            self.failures[who] += 1
            known = (who, hook) in self._said
            self._said.add((who, hook))
        if not known:
            more = {"exception": exception} if exception else {}
            log.warning("launcher.plugin_failed", plugin=who, hook=hook, because=because, **more)
