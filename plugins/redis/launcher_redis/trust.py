"""Is this server one to lock in, and what will it forget?

`INFO` must be allowed: without it a replica could not be told from a primary. `CONFIG GET` often is not, on hosted
servers; then nothing is said about persistence.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.errors import UsageError
from launcher_redis.server import Server

_ALWAYS = (
    "a lock in Redis saves work, it does not protect data: a fail-over, a restart that forgets it, FLUSHALL or eviction"
    " can give it to two while a step runs; for migrations take the lock of the database itself (--lock auto)"
)
_FORGETS = (
    "this server keeps nothing over a restart (save and appendonly are off): the records of what is done go with it,"
    " and those steps run again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is known of the server. `forgets`: nothing outlives a restart; `evicts`: the policy that drops the lock."""

    forgets: bool = False
    evicts: str | None = None

    @property
    def warning(self) -> str:
        """Return the sentences for the person who starts it."""
        evicts = f"its maxmemory-policy {self.evicts} may drop the lock and the ledger" if self.evicts else ""
        return "; ".join(part for part in (_ALWAYS, _FORGETS if self.forgets else "", evicts) if part)


def examine(server: Server, where: str) -> Findings:
    """Return what is to be said about the server. Raises UsageError for what nobody can lock in."""
    try:
        info = dict(line.split(":", 1) for line in str(server.ask("INFO")).splitlines() if ":" in line)
        _refuse(info, where)
        return Findings(forgets=_forgets(server), evicts=_evicts(info))
    except BaseException:
        server.close()
        raise


def _refuse(info: dict[str, str], where: str) -> None:
    if info.get("redis_mode") == "sentinel":
        raise UsageError(f"the lock {where} is a Sentinel: it keeps no keys", cure="name the primary that it watches")
    if info.get("cluster_enabled") == "1":
        raise UsageError(
            f"the lock {where} is a node of a Redis Cluster, which moves its keys",
            cure="a single Redis server, or the lock of a database: --lock postgresql://...",
        )
    if info.get("role") != "master":
        raise UsageError(
            f"the lock {where} is a replica: what it is told is forgotten, and its primary knows nothing of it",
            cure="name the primary" + (f", {info['master_host']}" if info.get("master_host") else ""),
        )


def _evicts(info: dict[str, str]) -> str | None:
    """Return the policy that drops keys when the memory is full: `volatile-*` too, as the lock has a time to live."""
    policy = info.get("maxmemory_policy", "noeviction")
    return None if policy == "noeviction" or info.get("maxmemory") == "0" else policy


def _forgets(server: Server) -> bool:
    try:
        asked = [server.ask("CONFIG", "GET", name) for name in ("save", "appendonly")]
    except UsageError:  # not allowed, or renamed: hosted servers do
        return False
    return asked == [["save", ""], ["appendonly", "no"]]
