"""How does Sentry hear of what no application can tell it: its own death?

`launcher_sentry.plugin` sends crash reports, `launcher_sentry.flushing` has each worker send what it still holds.
"""

from __future__ import annotations
