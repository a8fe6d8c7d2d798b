"""What does uvicorn's command line look like?"""

from __future__ import annotations

import sys
from typing import ClassVar

from launcher.errors import UsageError
from launcher.servers import Listener, ServerCommand, ServerPlan
from launcher.servers.options import (
    UVICORN_WORKERS,
    Option,
    crossing,
    log_rules,
    pool_rules,
    refuse,
    whole_seconds,
    words,
)

_LAUNCHERS = "the launcher has the sockets: give it --bind, --host, --port, --uds or --fd"
_REFUSED = {
    **dict.fromkeys(("--host", "--port", "--uds", "--fd"), _LAUNCHERS),
    **{
        name: f"use the launcher's {name}" for name in ("--reload", "--workers", "--env-file", "--app-dir", "--factory")
    },
}


class UvicornServer:
    """uvicorn: one process for one worker, its own supervisor where there are more or may be."""

    name: ClassVar[str] = "uvicorn"

    def command(self, plan: ServerPlan) -> ServerCommand:
        """Return uvicorn's command; raise UsageError for what it cannot do."""
        _check(plan)
        if plan.pool.plain:
            return _plain(plan)
        shown = [word for listener in plan.listeners for word in _address(listener)]
        return ServerCommand(
            argv=(sys.executable, "-P", "-m", "launcher.serving", "uvicorn", *shown, *_options(plan)),
            environ=_environ(plan),
            handover={
                "listeners": crossing(plan.listeners),
                "import_dir": str(plan.import_dir),
                "pool": pool_rules(plan),
                "log": log_rules(plan),
            },
        )


def _options(plan: ServerPlan) -> list[str]:
    """Return everything after the address: options, the user's own words, the application."""
    pool, http = plan.pool, plan.http
    options: dict[str, Option] = {
        "--app-dir": str(plan.import_dir),
        "--workers": None if pool.reload else plan.workers,
        "--factory": plan.factory,
        "--log-level": plan.log.level,
        _switch("access-log", on=plan.log.access_log not in (False, "")): True,
        "--timeout-graceful-shutdown": whole_seconds(plan.graceful_timeout_s),
        "--timeout-keep-alive": whole_seconds(http.keep_alive),
        "--timeout-worker-healthcheck": None if pool.reload else whole_seconds(pool.worker_timeout),
        "--limit-max-requests": pool.max_requests,
        "--limit-max-requests-jitter": pool.max_requests_jitter,
        "--forwarded-allow-ips": http.forwarded_allow_ips,
        "--root-path": http.root_path,
        "--ssl-certfile": http.ssl_certfile,
        "--ssl-keyfile": http.ssl_keyfile,
        "--reload": pool.reload,
    }
    if http.proxy_headers is not None:
        options[_switch("proxy-headers", on=http.proxy_headers)] = True
    watched = [word for folder in pool.reload_dir for word in ("--reload-dir", folder)]
    return [*words(options), *watched, *pool.server_args, plan.app]


def _switch(name: str, *, on: bool) -> str:
    return f"--{name}" if on else f"--no-{name}"


def _address(listener: Listener) -> list[str]:
    """Return the address for a reader of `ps`: the sockets themselves cross as descriptors."""
    if listener.address.startswith("unix:"):
        return ["--uds", listener.address.removeprefix("unix:")]
    if listener.address.startswith("fd://"):
        return ["--fd", listener.address.removeprefix("fd://")]
    host, _, port = listener.address.rpartition(":")
    return ["--host", host.strip("[]"), "--port", port]


def _check(plan: ServerPlan) -> None:
    pool = plan.pool
    asked = pool.worker_class.value if pool.worker_class else "uvicorn"
    alone = plan.most_workers == 1 and not pool.reload
    pooled = alone and not pool.plain  # with --plain it is ignored already, and said
    refused = {
        f"--worker-class {asked} is gunicorn's": asked not in UVICORN_WORKERS,
        f"--config {pool.config} is gunicorn's": bool(pool.config),
        "--preload is gunicorn's": pool.preload,
        f"--access-log {plan.log.access_log}: uvicorn writes no log file": plan.log.access_log not in _STREAMS,
        f"--error-log {plan.log.error_log}: uvicorn writes no log file": plan.log.error_log not in _STREAMS,
        "--max-requests with one worker would end the whole server": alone and bool(pool.max_requests),
        "--max-worker-lifetime with one worker would end the whole server": pooled and bool(pool.max_worker_lifetime),
        "--worker-timeout with one worker: nobody is there to notice": alone and pool.worker_timeout is not None,
        "--startup-timeout with one worker: nobody is there to notice": pooled and pool.startup_timeout is not None,
        "--worker-memory-limit with one worker would end the whole server": pooled and bool(pool.worker_memory_limit),
        "--restart-intensity with one worker: nobody is there to restart it": pooled and bool(pool.restart_intensity),
    }
    for message, applies in refused.items():
        if applies:
            raise UsageError(message, cure="use --server gunicorn, or leave it out")
    refuse(pool.server_args, _REFUSED)


_STREAMS = (True, False, "-", "")


def _environ(plan: ServerPlan) -> dict[str, str | None]:
    """Uvicorn calls int() on WEB_CONCURRENCY where nothing else says the number of workers (with --reload)."""
    return {"WEB_CONCURRENCY": str(plan.most_workers)} if "WEB_CONCURRENCY" in plan.environ else {}


def _plain(plan: ServerPlan) -> ServerCommand:
    """The bare server: nothing of ours after the exec."""
    if len(plan.listeners) != 1:
        raise UsageError(
            "plain uvicorn takes one address", cure="leave out --plain or --bind, or use --server gunicorn"
        )
    argv = (sys.executable, "-m", "uvicorn", "--fd", str(plan.listeners[0].fd), *_options(plan))
    return ServerCommand(argv=argv, environ=_environ(plan))
