"""How is the application started for a trial?

As `launcher run` starts it, with the same settings, except for what others would see of it: no steps, its own socket,
nothing remembered, no reports, no monitor. A program of its own (`python -P -m launcher.boot.trials.begin`); it reads
the order from its standard input and becomes the server.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.boot.trials.order import Order
from launcher.errors import LauncherError
from launcher.origin import Origin, OriginKind, Sourced

if TYPE_CHECKING:
    from launcher.settings.topics import PoolSettings, Settings

_ORIGIN = Origin(OriginKind.DEFAULT, "a trial")
_WORKERS = 2  # one to measure, and one more to see whether it is like the first
_LONGEST_GRACE_S = 10.0  # for the end of its lifespan, which may have to sign off somewhere
_OOM_SCORE = Path("/proc/self/oom_score_adj")
_SOONER_THAN_ALL = "1000"  # proc(5)
_FOR_EVER = ("--max-requests", "0", "--max-requests-jitter", "0")  # who is measured has to have been asked often
_METRICS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")  # a server empties it when it starts
# The start is nobody's service, and is not to be told to those who watch one.
_OTHERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def tried(settings: Settings, order: Order) -> Settings:
    """Return the settings of the trial: the same application, and nothing that leaves a trace."""
    from launcher.settings.topics import BindSettings, IncidentSettings, MonitorSettings

    folder = Path(order.folder)
    return dataclasses.replace(
        settings,
        bind=BindSettings(bind=(Sourced(f"unix:{order.socket}", _ORIGIN),), bind_early=False),
        pool=_pool(settings.pool, order),
        prestart=dataclasses.replace(settings.prestart, mode="off", lock=Sourced("auto", _ORIGIN)),
        log=dataclasses.replace(settings.log, format="json", level="info", access_log=False, error_log=True),
        http=dataclasses.replace(settings.http, ssl_certfile=None, ssl_keyfile=None),
        monitor=MonitorSettings(off=True, health_worker=settings.monitor.health_worker),
        incidents=IncidentSettings(crash_dir=folder / "crashes", termination_log=folder / "last-words"),
        remembers=False,
    )


def _pool(pool: PoolSettings, order: Order) -> PoolSettings:
    """Return what makes the pool look for its size by itself, whatever was said of it; two workers on one CPU, too."""
    return dataclasses.replace(
        pool,
        server=Sourced(order.server, _ORIGIN),
        workers=None,
        max_workers=_WORKERS,
        workers_per_core=float(_WORKERS),
        worker_memory_estimate=None,
        worker_memory_limit=None,
        preload=order.preload,
        allow_overcommit=True,
        max_requests=None,
        max_requests_jitter=None,
        max_worker_lifetime=None,
        plain=False,
        graceful_timeout=min(pool.graceful_timeout or _LONGEST_GRACE_S, _LONGEST_GRACE_S),
        drain_delay=0.0,
        server_args=_server_args(pool, order),
    )


def _server_args(pool: PoolSettings, order: Order) -> tuple[str, ...]:
    """Return the user's words for the server, without what the trial decides. The last word wins.

    A file of the user's configuration may name files that a service beside us has, or that are nobody's yet.
    """
    if order.server != "gunicorn":
        return pool.server_args
    ours = ("--workers", "1", "--pid", f"{order.folder}/pid", "--error-logfile", "-", *_FOR_EVER)
    return (*(word for word in pool.server_args if word != "--preload"), *ours)


def _keep_to_ourselves(environ: MutableMapping[str, str], folder: str) -> None:
    for name in _OTHERS:
        environ.pop(name, None)
    for name in _METRICS:
        if environ.get(name):
            environ[name] = f"{folder}/metrics"
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with contextlib.suppress(OSError):  # no Linux
        _OOM_SCORE.write_text(_SOONER_THAN_ALL)


def main() -> None:
    """Become the server; end with the exit code that `launcher run` would have."""
    from launcher.boot.handover import remember_signals
    from launcher.boot.sequence import run
    from launcher.boot.watch import Watch
    from launcher.log import log
    from launcher.settings.load import load

    order = Order.from_bytes(sys.stdin.buffer.read())
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    _keep_to_ourselves(os.environ, order.folder)
    log.configure("json", "info")
    try:
        run(
            lambda: tried(load(order.given, server_args=order.server_args), order),
            Watch(),
            remember_signals(),
        )
    except LauncherError as error:
        log.error("launcher.start_failed", exit_code=int(error.exit_code), message=error.message)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
