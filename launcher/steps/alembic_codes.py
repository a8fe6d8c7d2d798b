"""What do an Alembic step and its process agree on: how it ends beside 0 and 1, and how a place is told from others?

In a module of its own: the process imports it without the step type and what that needs (10 ms of each start).
"""

from __future__ import annotations

UNKNOWN_REVISION = 65  # EX_DATAERR of sysexits.h: the database is ahead of this image
UNREACHABLE = 69  # EX_UNAVAILABLE: no database could be reached, and nothing has been done

# Where a connection's unqualified names are looked up. By it the launcher's own connection is compared with the one
# that env.py made: a search path, a role or a `creator` of the engine does not show in the URL.
PLACES = {
    "postgresql": "SELECT current_database(), current_user, current_setting('search_path')",
    "mysql": "SELECT database()",
    "mariadb": "SELECT database()",
    "sqlite": "SELECT file FROM pragma_database_list WHERE name = 'main'",
}
