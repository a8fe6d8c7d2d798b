"""How does an Alembic step's process end, beside 0 and 1?

In a module of its own: the process imports it without the step type and what that needs (10 ms of each start).
"""

from __future__ import annotations

UNKNOWN_REVISION = 65  # EX_DATAERR of sysexits.h: the database is ahead of this image
