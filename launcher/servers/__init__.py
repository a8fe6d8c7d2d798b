"""What becomes of this process?

A server type turns what was decided into the command that this process executes. It is registered in the entry-point
group `launcher.servers` under the word of `--server`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from launcher.growth import Growth
from launcher.origin import Origin
from launcher.settings.topics import HttpSettings, LogSettings, PoolSettings

__all__ = ["Listener", "Server", "ServerCommand", "ServerPlan"]


@dataclass(frozen=True, slots=True)
class Listener:
    """One bound socket. `address` as gunicorn spells it: `0.0.0.0:8000`, `[::1]:80`, `unix:PATH`, `fd://3`."""

    address: str
    fd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """What a server has to know. Durations in seconds."""

    app: str  # import string; with `factory` the callable that makes the application
    factory: bool
    import_dir: Path
    workers: int
    listeners: tuple[Listener, ...]
    pool: PoolSettings
    http: HttpSettings
    log: LogSettings
    graceful_timeout_s: float
    growth: Growth | None = None  # how the pool may find its size; None: it is `workers`
    drain_delay_s: float = 0.0
    wrap_app: tuple[str, ...] = ()  # plugins that put something around the application
    health_worker: str | None = None
    metrics_by_status: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)  # of what somebody has set, by the setting's name

    @property
    def most_workers(self) -> int:
        """How many workers the pool may come to have by itself."""
        return self.workers if self.growth is None else self.growth.most_workers


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """What is executed. No secret in `argv`; `handover` crosses in an inherited memfd, as JSON."""

    argv: tuple[str, ...]
    environ: Mapping[str, str | None] = field(default_factory=dict)  # changes; None removes
    handover: Mapping[str, object] | None = None


class Server(Protocol):
    """One server."""

    name: ClassVar[str]

    def command(self, plan: ServerPlan) -> ServerCommand:
        """Return what this process becomes. Raises UsageError for what the server cannot do."""
