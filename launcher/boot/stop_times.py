"""How long may a stop take?

Drain delay and graceful timeout have to fit between the platform's TERM and its KILL (DESIGN §6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.origin import DEFAULT, Ignored, Origin, OriginKind, Sourced
from launcher.settings.topics import Settings


@dataclass(frozen=True, slots=True)
class _Grace:
    """Seconds. `kill`: from the signal to KILL as the platform has it by itself; `but`: what changes that."""

    drain: float
    requests: float
    kill: float
    but: str


# Kubernetes takes its time to send nobody to a pod any more; elsewhere whoever sends TERM has done so before.
_GRACE = {
    "container": _Grace(0.0, 8.0, 10.0, "unless docker stop --time or stop_grace_period says more"),
    "kubernetes": _Grace(5.0, 20.0, 30.0, "unless terminationGracePeriodSeconds says more; preStop counts too"),
    "heroku": _Grace(0.0, 25.0, 30.0, "that cannot be changed"),
    "fly": _Grace(0.0, 4.0, 5.0, "unless kill_timeout says more"),
    "cloud-run": _Grace(0.0, 8.0, 10.0, "that cannot be changed"),
}
_ELSEWHERE_S = 30.0  # gunicorn's own; systemd's TimeoutStopSec is 90 s unless it is set, and cannot be seen from here


_POOLS = ("startup_timeout", "drain_delay", "max_worker_lifetime", "restart_intensity", "health_worker")
_MONITORS = (
    "health_bind",
    "health_details",
    "ready_workers",
    "health_http",
    "metrics",
    "metrics_by_status",
    "runtime_dir",
    "worker_memory_limit",
)


@dataclass(frozen=True, slots=True)
class StopTimes:
    """Both durations in seconds with their origins, and sentences about them that somebody should read."""

    drain_delay: Sourced[float]
    graceful_timeout: Sourced[float]
    doubts: tuple[str, ...]


def stop_times(settings: Settings, platform: str) -> StopTimes:
    """Return what was asked for, else what fits the platform."""
    drain, graceful = _drain_delay(settings, platform), _graceful_timeout(settings, platform)
    asked = settings.pool.graceful_timeout is not None or settings.pool.drain_delay is not None
    return StopTimes(drain, graceful, _doubts(drain, graceful, platform) if asked else ())


def ignored_by_bare_servers(settings: Settings) -> tuple[Ignored, ...]:
    """Return what was asked of the launcher's own pool or monitor, where there is none."""
    bare = "--plain" if settings.pool.plain else "--reload" if settings.pool.reload else ""
    without = bare or ("--no-monitor" if settings.monitor.off else "")
    of_pool = _said(settings, _POOLS, f"it is done by the launcher's pool, and {bare} is without it") if bare else ()
    of_monitor = (
        _said(settings, _MONITORS, f"it is done by the monitor, and {without} is without it") if without else ()
    )
    return (*of_pool, *of_monitor)


def _said(settings: Settings, names: Sequence[str], because: str) -> tuple[Ignored, ...]:
    said = [(name, settings.origins[name].origin) for name in names if name in settings.origins]
    return tuple(Ignored(name, origin, because) for name, origin in said if origin.kind is not OriginKind.DEFAULT)


def _drain_delay(settings: Settings, platform: str) -> Sourced[float]:
    if settings.pool.plain or settings.pool.reload:
        return Sourced(0.0, Origin(OriginKind.DEFAULT, "the bare server has none"))
    grace = _GRACE.get(platform)
    return _asked_or(settings, "drain_delay", settings.pool.drain_delay, platform, grace.drain if grace else 0.0)


def _graceful_timeout(settings: Settings, platform: str) -> Sourced[float]:
    grace, asked = _GRACE.get(platform), settings.pool.graceful_timeout
    return _asked_or(settings, "graceful_timeout", asked, platform, grace.requests if grace else _ELSEWHERE_S)


def _asked_or(settings: Settings, name: str, asked: float | None, platform: str, fitting_s: float) -> Sourced[float]:
    if asked is not None:
        known = settings.origins.get(name)
        return Sourced(asked, known.origin if known else DEFAULT)
    return Sourced(fitting_s, Origin(OriginKind.DEFAULT, f"fits {platform}" if platform in _GRACE else "default"))


def _doubts(drain: Sourced[float], graceful: Sourced[float], platform: str) -> tuple[str, ...]:
    grace = _GRACE.get(platform)
    if grace is None or drain.value + graceful.value <= grace.kill:
        return ()
    drained = f"drain delay {drain.value:g} s ({drain.origin})"
    finished = f"graceful timeout {graceful.value:g} s ({graceful.origin})"
    killed = f"{platform} kills {grace.kill:g} s after the signal to stop ({grace.but})"
    return (f"{drained} + {finished} = {drain.value + graceful.value:g} s, and {killed}",)
