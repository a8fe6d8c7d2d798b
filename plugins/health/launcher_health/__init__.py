"""Which health checks need not be written by hand?

Each function returns a `launcher.HealthCheck` and takes `name`, `group`, `interval`, `timeout` (seconds). Nothing is
connected to before the check runs, and nothing stays open afterwards. No result has a password in it.
"""

from __future__ import annotations

from launcher_health.checks import alembic_at_head, database, disk, http, redis, tcp

__all__ = ["alembic_at_head", "database", "disk", "http", "redis", "tcp"]
