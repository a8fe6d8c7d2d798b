"""How does the server report an incident?

To the monitor, which keeps reports and hands them to plugins, and beside it when there is none. Nothing in here raises
or waits: what goes wrong with a report is no reason for anything else to go wrong.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launcher.channel import Channel
from launcher.incidents.outbox import Outbox
from launcher.incidents.report import new_report, versions
from launcher.incidents.store import Store
from launcher.log import log
from launcher.serving.aside import Aside

_WRITE_S = 1.0  # the end of a server waits so long for the writer


class Incidents:
    """Makes reports and sends them.

    crossed: `folder` for reports ("": none), `because` (why none), `app` and `release`, of the handover. Empty for a
        server that was started by hand: its reports are only logged.
    """

    def __init__(
        self,
        crossed: Mapping[str, Any] | None = None,
        channel: Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Send to the monitor at the other end of `channel`; None: there is none."""
        crossed = crossed or {}
        folder, because = str(crossed.get("folder") or ""), str(crossed.get("because", ""))
        store = Store(Path(folder) if folder else None, because=because)
        self._aside = Aside(store) if folder else None
        self.outbox = Outbox(channel, self._aside or store, clock)
        # The versions now: later, a disk that hangs would hold up more than a report.
        self._known = {name: str(crossed.get(name) or "") for name in ("app", "release")} | {"versions": versions()}

    def report(self, kind: str, title: str, **facts: Any) -> str:
        """Make and send a report, with the keys of `launcher.incidents.report.new_report`; return its id, or ""."""
        try:
            report = new_report(kind, title, **{**self._known, **facts})
            self.outbox.send(report)
        except Exception:  # noqa: BLE001 - see above
            log.error("launcher.incident_fault", exception=traceback.format_exc())
            return ""
        return str(report["id"])

    def ended(self, pid: int, status: int) -> None:
        """Take note of a child that was reaped."""
        if self._aside is not None:
            self._aside.ended(pid, status)

    def finish(self) -> None:
        """The server ends: keep what nobody keeps yet."""
        self.outbox.flush()
        if self._aside is not None:
            self._aside.finish(_WRITE_S)
