"""Is a signal to stop somebody's impatience, or only the first one once more?

systemd sends its own TERM after an ExecStop that has sent one, and wrappers that forward what the whole group has got
already send it twice. Somebody who has lost patience has waited first.
"""

from __future__ import annotations

from dataclasses import dataclass

REPEAT_S = 1.5  # wrappers repeat within milliseconds, a `kill` in ExecStop within tenths of a second


@dataclass(slots=True)
class Asked:
    """The last wish to stop that counted: its kind, and when (monotonic, seconds)."""

    kind: object = None
    at: float = float("-inf")

    def repeats(self, kind: object, now: float) -> bool:
        """Tell whether a wish is one that has been noted; note it otherwise."""
        if kind == self.kind and now - self.at < REPEAT_S:
            return True
        self.kind, self.at = kind, now
        return False
