"""How does a crash report get to OpenTelemetry?

`plugin` has the hook; nothing here needs to be imported by an application.
"""

from __future__ import annotations
