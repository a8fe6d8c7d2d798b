"""Who gets to know what happens in the pool?

The log, and whoever is at the other end of the event channel.
"""

from __future__ import annotations

from launcher.channel import Channel
from launcher.log import log


class Voice:
    """Says each event once to all of them."""

    def __init__(self, channel: Channel | None = None) -> None:
        """Speak to the log, and to the channel where there is one."""
        self.channel = channel

    def say(self, event: str, **facts: object) -> None:
        """What happened."""
        log.info(event, **facts)
        self._send(event, facts)

    def warn(self, event: str, **facts: object) -> None:
        """What somebody should look at."""
        log.warning(event, **facts)
        self._send(event, facts)

    def _send(self, event: str, facts: dict[str, object]) -> None:
        if self.channel is not None:
            self.channel.send({"event": event, **facts})
