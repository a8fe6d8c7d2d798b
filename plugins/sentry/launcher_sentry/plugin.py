"""When does a report become an event?

When SENTRY_DSN says where to; without it nothing is done, and nothing of sentry_sdk is loaded.
"""

from __future__ import annotations

import os
from dataclasses import fields

from launcher import Incident, hookimpl

launcher_only_with = "$SENTRY_DSN"  # without it no process is started for us


@hookimpl
def launcher_incident(report: Incident) -> None:
    """Send a report. Raises NotSent when Sentry has not taken it, BadDsn for a DSN that is none: it is tried again."""
    if not (dsn := os.environ.get("SENTRY_DSN", "").strip()):
        return
    from launcher_sentry.event import event_of
    from launcher_sentry.sending import send

    # All that this launcher's record has: a newer one says more.
    facts = {one.name: getattr(report, one.name) for one in fields(report)}
    send(event_of(facts, os.environ, os.getcwd()), dsn)  # noqa: PTH109 - compared as text with names of files
