"""What was asked for, by topic?

Small frozen values, one per topic, so that a function takes the one it needs. Each field is one option of DESIGN §6 and
has the same name in all three spellings (`--lock-timeout`, `LAUNCHER_LOCK_TIMEOUT`, `lock_timeout`). `None` means
"nobody said": whoever uses the value decides, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from launcher.origin import Ignored, Origin, Sourced

OncePer = Literal["start", "release", "content", "database", "replica"]
Prestart = Literal["run", "wait", "check", "off"]
UnknownRevision = Literal["refuse", "start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """Which application, and where it is imported from."""

    app: Sourced[str] | None = None
    variable: Sourced[str] | None = None  # fastapi's `--app NAME`
    factory: bool = False
    app_dir: Path | None = None
    env_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BindSettings:
    """Where to listen. `bind` holds gunicorn's spellings: `host:port`, `[::1]:80`, `unix:PATH`, `fd://N`."""

    bind: tuple[Sourced[str], ...] = ()  # resolved by precedence: host+port, uds and fd are folded into this
    bind_early: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Which server, how many workers, in how much memory. Sizes in bytes, durations in seconds."""

    server: Sourced[str] | None = None
    worker_class: Sourced[str] | None = None
    workers: Sourced[int] | None = None  # None: `auto`
    max_workers: int | None = None
    workers_per_core: float | None = None  # the retired images' WORKERS_PER_CORE
    memory: Sourced[float | int] | None = None  # float: share of the limit; int: bytes
    worker_memory_estimate: Sourced[int] | None = None
    worker_memory_limit: int | None = None
    preload: bool = False
    allow_overcommit: bool = False
    max_requests: int | None = None
    max_requests_jitter: int | None = None
    worker_timeout: float | None = None
    graceful_timeout: float | None = None
    startup_timeout: float | None = None
    drain_delay: float | None = None
    max_worker_lifetime: float | None = None
    restart_intensity: int | None = None  # deaths in 60 s
    reload: bool = False
    reload_dir: tuple[str, ...] = ()
    plain: bool = False
    config: str | None = None  # gunicorn's own configuration file, chained
    server_args: tuple[str, ...] = ()  # after `--`


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """One `[[prestart]]` table: exactly one key names the type (`alembic`, `run`, `call`, `wait-for`, a plugin's)."""

    name: str
    type: str
    value: object  # what stood beside the type's key: a string, a list of strings, ...
    origin: Origin
    named: bool = True  # False: `name` is only the type, numbered; records then go by what the step does
    found: bool = False  # not configured: an alembic.ini was there
    once_per: OncePer | None = None  # None: the type's own default
    timeout_s: float = 600.0
    attempts: int = 3  # of the whole fleet, at full speed; then one at a time with growing pauses
    files: tuple[str, ...] = ()  # globs, for `once_per = "content"`
    options: Mapping[str, object] = field(default_factory=dict)  # further keys: the step type checks them


@dataclass(frozen=True, slots=True, kw_only=True)
class PrestartSettings:
    """Which steps, under which lock. Durations in seconds."""

    mode: Prestart = "run"
    yes: bool = False
    steps: tuple[StepSettings, ...] = ()
    lock: Sourced[str]
    lock_timeout: float = 900.0
    lock_expiry: float = 30.0
    namespace: str | None = None  # part of the lock's name
    ledger_table: str = "asgi_launcher_ledger"
    orphans: Literal["wait", "terminate"] = "wait"
    release: Sourced[str] | None = None
    on_unknown_revision: UnknownRevision = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How the launcher's own lines look; `access_log` is handed on to the server."""

    format: Literal["auto", "console", "json"] = "auto"
    level: str = "info"
    access_log: bool | str = True  # a string: the file, as gunicorn's --access-logfile
    access_log_exclude: tuple[str, ...] = ()  # paths whose requests leave no line in it
    error_log: bool | str = True  # the same for the server's own messages, as gunicorn's --error-logfile


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """Who is told how the pool is, and where. `ready_workers` is "K" or "P%"."""

    off: bool = False
    health_bind: tuple[str, ...] = ()
    health_details: bool = False
    ready_workers: str = "1"
    health_http: str | None = None
    health_worker: str | None = None
    metrics: bool = False
    metrics_by_status: bool = False
    runtime_dir: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentSettings:
    """Where it is told why something died or failed. `None`: the usual places."""

    crash_dir: Path | None = None
    termination_log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """What is handed on to the server untouched; `None` leaves the server's own default."""

    forwarded_allow_ips: str | None = None
    proxy_headers: bool | None = None
    root_path: str | None = None
    keep_alive: float | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that was asked for. `origins` has one entry for every option, with its value as it is shown.

    remembers: False for a trial, of which later starts are to know nothing.
    """

    cwd: Path
    app: AppSettings
    bind: BindSettings
    pool: PoolSettings
    prestart: PrestartSettings
    log: LogSettings
    http: HttpSettings
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    incidents: IncidentSettings = field(default_factory=IncidentSettings)
    plugins: tuple[str, ...] = ()
    origins: Mapping[str, Sourced[object]] = field(default_factory=dict)
    ignored: tuple[Ignored, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)  # the process's, with --env-file under it
    remembers: bool = True
