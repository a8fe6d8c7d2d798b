"""How do merged options become the topics that the rest of the program takes?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

from launcher.origin import DEFAULT, Sourced
from launcher.redact import redact
from launcher.settings.gunicorn_conventions import readable_by_gunicorn
from launcher.settings.layers import Merged
from launcher.settings.option import Option
from launcher.settings.options import BY_NAME, TABLE
from launcher.settings.topics import (
    AppSettings,
    BindSettings,
    HttpSettings,
    IncidentSettings,
    LogSettings,
    MonitorSettings,
    PoolSettings,
    Prestart,
    PrestartSettings,
    Settings,
    StepSettings,
    UnknownRevision,
)
from launcher.settings.values import shown

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is not an option of the table."""

    cwd: Path
    bind: tuple[Sourced[str], ...]
    steps: tuple[StepSettings, ...]
    server_args: tuple[str, ...]
    environ: Mapping[str, str]


def assemble(merged: Merged, asked: Asked) -> Settings:
    """Return the settings by topic, with the origin of every option."""
    return Settings(
        cwd=asked.cwd,
        app=_app(merged),
        bind=BindSettings(bind=asked.bind, bind_early=merged.value("bind_early", bool)),
        pool=_pool(merged, asked),
        prestart=_prestart(merged, asked),
        log=_log(merged),
        http=_http(merged),
        monitor=_monitor(merged),
        incidents=IncidentSettings(
            crash_dir=_path(merged, "crash_dir"), termination_log=_path(merged, "termination_log")
        ),
        plugins=_texts(merged, "plugins"),
        origins=_origins(merged, asked),
        ignored=tuple(merged.ignored),
        environ=readable_by_gunicorn(asked.environ),
    )


def _app(merged: Merged) -> AppSettings:
    return AppSettings(
        app=merged.said("app", str),
        variable=merged.said("variable", str),
        factory=_or_default(merged, "factory", bool),
        app_dir=_path(merged, "app_dir"),
        env_file=_path(merged, "env_file"),
    )


def _pool(merged: Merged, asked: Asked) -> PoolSettings:
    return PoolSettings(
        server=merged.said("server", str),
        worker_class=merged.said("worker_class", str),
        workers=merged.said("workers", int),
        max_workers=merged.value("max_workers", int),
        workers_per_core=merged.value("workers_per_core", float),
        memory=merged.said("memory", float) or merged.said("memory", int),
        worker_memory_estimate=merged.said("worker_memory_estimate", int),
        worker_memory_limit=merged.value("worker_memory_limit", int),
        preload=_or_default(merged, "preload", bool),
        allow_overcommit=_or_default(merged, "allow_overcommit", bool),
        max_requests=merged.value("max_requests", int),
        max_requests_jitter=merged.value("max_requests_jitter", int),
        worker_timeout=merged.value("worker_timeout", float),
        graceful_timeout=merged.value("graceful_timeout", float),
        startup_timeout=merged.value("startup_timeout", float),
        drain_delay=merged.value("drain_delay", float),
        max_worker_lifetime=merged.value("max_worker_lifetime", float),
        restart_intensity=merged.value("restart_intensity", int),
        reload=_or_default(merged, "reload", bool),
        reload_dir=_texts(merged, "reload_dir"),
        plain=_or_default(merged, "plain", bool),
        config=merged.value("config", str),
        server_args=asked.server_args,
    )


def _prestart(merged: Merged, asked: Asked) -> PrestartSettings:
    return PrestartSettings(
        mode=cast("Prestart", _or_default(merged, "prestart", str)),
        yes=_or_default(merged, "yes", bool),
        steps=asked.steps,
        lock=merged.said("lock", str) or Sourced("auto", DEFAULT),
        lock_timeout=_or_default(merged, "lock_timeout", float),
        lock_expiry=_or_default(merged, "lock_expiry", float),
        namespace=merged.value("namespace", str),
        ledger_table=_or_default(merged, "ledger_table", str),
        orphans=cast('Literal["wait", "terminate"]', _or_default(merged, "orphans", str)),
        release=merged.said("release", str),
        on_unknown_revision=cast("UnknownRevision", _or_default(merged, "on_unknown_revision", str)),
    )


def _log(merged: Merged) -> LogSettings:
    return LogSettings(
        format=cast('Literal["auto", "console", "json"]', _or_default(merged, "log_format", str)),
        level=_or_default(merged, "log_level", str),
        access_log=_file_or_truth(merged, "access_log"),
        access_log_exclude=_texts(merged, "access_log_exclude"),
        error_log=_file_or_truth(merged, "error_log"),
    )


def _monitor(merged: Merged) -> MonitorSettings:
    return MonitorSettings(
        off=_or_default(merged, "no_monitor", bool),
        health_bind=_texts(merged, "health_bind"),
        health_details=_or_default(merged, "health_details", bool),
        ready_workers=_or_default(merged, "ready_workers", str),
        health_http=merged.value("health_http", str),
        health_worker=merged.value("health_worker", str),
        metrics=_or_default(merged, "metrics", bool),
        metrics_by_status=_or_default(merged, "metrics_by_status", bool),
        runtime_dir=merged.value("runtime_dir", str),
    )


def _http(merged: Merged) -> HttpSettings:
    return HttpSettings(
        forwarded_allow_ips=merged.value("forwarded_allow_ips", str),
        proxy_headers=merged.value("proxy_headers", bool),
        root_path=merged.value("root_path", str),
        keep_alive=merged.value("keep_alive", float),
        ssl_certfile=merged.value("ssl_certfile", str),
        ssl_keyfile=merged.value("ssl_keyfile", str),
    )


def _or_default(merged: Merged, name: str, kind: type[T]) -> T:
    value = merged.value(name, kind)
    return cast("T", BY_NAME[name].default) if value is None else value


def _file_or_truth(merged: Merged, name: str) -> bool | str:
    said = merged.winners.get(name)
    return said.value if said is not None and isinstance(said.value, bool | str) else True


def _texts(merged: Merged, name: str) -> tuple[str, ...]:
    return tuple(map(str, merged.value(name, tuple) or ()))


def _path(merged: Merged, name: str) -> Path | None:
    value = merged.value(name, str)
    return None if value is None else Path(value)


def _origins(merged: Merged, asked: Asked) -> dict[str, Sourced[object]]:
    """Return each option's value as it is shown: passwords hidden, `bind` as it was put together."""
    origins = {option.name: _origin(merged, option) for option in TABLE}
    origins["bind"] = Sourced([address.value for address in asked.bind], asked.bind[0].origin)
    return origins


def _origin(merged: Merged, option: Option) -> Sourced[object]:
    said = merged.winners.get(option.name, Sourced(option.default, DEFAULT))
    return Sourced(_hidden(shown(option, said.value)), said.origin)


def _hidden(value: object) -> object:
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return redact(value) if isinstance(value, str) else value
