"""What happens with an incident?

The settings are read when the launcher loads the plugin: a mistake in them is said then, not at the first crash.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import Incident, hookimpl
from launcher_webhook.settings import FILE, URL

if TYPE_CHECKING:
    from launcher_webhook.reporter import Reporter


def _reporter() -> Reporter | None:
    """Return who sends; None without a URL, and then nothing of HTTP is imported. Raises ValueError."""
    if not os.environ.get(URL, "").strip() and not Path(FILE).exists():
        return None
    from launcher_webhook.reporter import Reporter
    from launcher_webhook.settings import read

    return Reporter(read(Path(), os.environ))


launcher_only_with = ("launcher-webhook.toml", "$LAUNCHER_WEBHOOK_URL")  # without either no process is started for us
_REPORTER = _reporter()


@hookimpl
def launcher_incident(report: Incident) -> None:
    """Send it to every receiver that has not taken it. Raises NotTaken while one has not."""
    if _REPORTER is not None:
        _REPORTER.send(report)
