"""What does a server do for the pool?"""

from __future__ import annotations

from typing import Protocol

from launcher.scoreboard import Slot
from launcher.serving.evidence import Evidence


class Hands(Protocol):
    """What a server does for the pool. Nothing here may wait."""

    def start_worker(self, slot: Slot, evidence: Evidence, generation: int) -> int:
        """Start a process for `slot` and return its pid. Raises OSError."""

    def can_start(self) -> bool:
        """Tell whether workers can be started yet. Raises LauncherError when they never can; then it is begun anew."""

    def send(self, pid: int, number: int) -> None:
        """Send a signal to a worker; one that is gone is no error."""

    def stop_listening(self) -> None:
        """Close our own copies of the listeners."""

    def load_new(self) -> None:
        """A reload begins: read what the next workers are to run. Raises anything; then nothing has changed."""

    def new_is_ready(self) -> bool:
        """Tell whether workers of the new generation can be started. Raises anything when they never can."""

    def keep_new(self) -> None:
        """The reload went well."""

    def keep_old(self) -> None:
        """The reload went wrong: what was read before holds."""

    def resized(self, wanted: int) -> None:
        """Another number of workers is wanted."""

    def copy_bytes(self) -> int:
        """Return how many bytes a reload takes beside the workers, while it holds the application twice."""
