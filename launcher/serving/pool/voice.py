"""Who gets to know what happens in the pool?

The log, whoever is at the other end of the event channel, and of incidents whoever keeps reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.channel import Channel
from launcher.log import log
from launcher.serving.incidents import Incidents


class Voice:
    """Says each event once to all of them."""

    def __init__(self, channel: Channel | None = None, incidents: Incidents | None = None) -> None:
        """Speak to the log, and to the channel where there is one; without `incidents` nothing is reported."""
        self.channel, self.incidents = channel, incidents

    def say(self, event: str, **facts: object) -> None:
        """What happened."""
        log.info(event, **facts)
        self._send(event, facts)

    def warn(self, event: str, **facts: object) -> None:
        """What somebody should look at."""
        log.warning(event, **facts)
        self._send(event, facts)

    def report(self, kind: str, title: str, **facts: Any) -> str:
        """What somebody should be told of, wherever he is; return the report's id, "" when there is none."""
        return self.incidents.report(kind, title, **facts) if self.incidents is not None else ""

    def hear(self, message: Mapping[str, Any]) -> None:
        """What has become of a report."""
        if self.incidents is not None:
            self.incidents.outbox.hear(message)

    def _send(self, event: str, facts: dict[str, object]) -> None:
        if self.channel is not None:
            self.channel.send({"event": event, **facts})
