"""How do replicas that share nothing but a Redis server take turns?

`launcher_redis.lock.RedisLock` keeps `--lock redis://...`, `rediss://...` (TLS) and `redis+unix:///path/to/socket`.
"""

from __future__ import annotations
