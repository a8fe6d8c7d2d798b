"""How long may a holder be out of touch?

A session lock is given to others when its connection has been silent for the expiry (R), by the server's clock. The
holder must have stopped before that: it gives up after G without an answer, its step needs at most K until it is dead.
`G + K + margin < R` (evidence/locks.md §5, rule 3), the inequality of client-go's leader election.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.errors import UsageError
from launcher.units import human_seconds

# Of the expiry: 2 s and 6 s of 30 s, the values measured in evidence/locks.md §3.
_HEARTBEAT, _GIVE_UP, _MARGIN = 1 / 15, 1 / 5, 1 / 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The durations, in seconds, that follow from the expiry R and the kill grace K."""

    expiry_s: float
    kill_grace_s: float

    @property
    def heartbeat_s(self) -> float:
        """How often the ownership is asked for (H)."""
        return self.expiry_s * _HEARTBEAT

    @property
    def give_up_s(self) -> float:
        """After how long without an answer the step is killed (G)."""
        return self.expiry_s * _GIVE_UP

    @property
    def takeover_s(self) -> float:
        """How long a successor waits until a predecessor that was cut off has certainly stopped (G + K + margin).

        The margin is for what is late without being wrong: a guard's loop, two hosts' different tick.
        """
        return self.give_up_s + self.kill_grace_s + self.expiry_s * _MARGIN

    def check(self) -> None:
        """Raise UsageError when a holder that was cut off could still be at work while another one is let in."""
        needed_s = self.takeover_s
        if needed_s >= self.expiry_s:
            raise UsageError(
                f"--lock-expiry {human_seconds(self.expiry_s)} is too short: a step that has to be killed may need"
                f" {human_seconds(round(needed_s, 1))} until it is dead",
                cure="--lock-expiry 30s, the default",
            )
