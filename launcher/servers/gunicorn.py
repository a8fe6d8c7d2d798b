"""What does gunicorn's command line look like?

What a person asked for stands in argv and so wins over their gunicorn.conf.py and GUNICORN_CMD_ARGS, as gunicorn has
it. What the launcher decided by itself gives way to them: where there are any it crosses as defaults instead. So does
what it read there itself, or else HUP could not read it again.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import ClassVar

from launcher.errors import UsageError
from launcher.origin import Origin, OriginKind
from launcher.servers import ServerCommand, ServerPlan
from launcher.servers.options import (
    UVICORN_WORKERS,
    Option,
    crossing,
    log_rules,
    mentions,
    pool_rules,
    refuse,
    whole_seconds,
    words,
)
from launcher.settings.gunicorn_conventions import NAMES

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - no file of ours: gunicorn makes and unlinks its own
_MOUNTS = Path("/proc/self/mounts")
_LAUNCHERS = "the launcher has the sockets: give it --bind, --host, --port, --uds or --fd"
# What HUP may change, with the setting's name. Not what the start has decided with: preloading, logs, grace and delay.
_READ_AGAIN = {
    "--timeout": "worker_timeout",
    "--keep-alive": "keep_alive",
    "--max-requests": "max_requests",
    "--max-requests-jitter": "max_requests_jitter",
    "--forwarded-allow-ips": "forwarded_allow_ips",
    "--root-path": "root_path",
    "--certfile": "ssl_certfile",
    "--keyfile": "ssl_keyfile",
}
_SAME_PROCESS = "the server has to stay this process"
_REFUSED = {
    "--bind": _LAUNCHERS,
    "-b": _LAUNCHERS,
    "--reuse-port": _LAUNCHERS,
    "--daemon": _SAME_PROCESS,
    "-D": _SAME_PROCESS,
    "--reload": "use the launcher's --reload",
}


class GunicornServer:
    """gunicorn: its arbiter, with uvicorn's workers, its own `asgi` ones, or a class of the application."""

    name: ClassVar[str] = "gunicorn"

    def __init__(
        self, shared_memory: Path = SHARED_MEMORY, mounts: Path = _MOUNTS, platform: str = sys.platform
    ) -> None:
        """Read where workers may put their heartbeat files from `mounts`. `platform`: as sys.platform has it."""
        self._platform = platform
        self._heartbeats = _writable_tmpfs(shared_memory, mounts)

    def command(self, plan: ServerPlan) -> ServerCommand:
        """Return gunicorn's command; raise UsageError for what it cannot do."""
        _check(plan, self._platform)
        app = f"{plan.app}()" if plan.factory else plan.app
        asked, decided = _asked(plan), self._decided(plan)
        given_way = {name: value for name, value in decided.items() if asked.get(name) is None}
        if plan.pool.plain:
            return _plain(plan, asked | given_way, app)
        own = _has_own_configuration(plan)
        shown = asked if own else {**given_way, **{name: value for name, value in asked.items() if value is not None}}
        binds = [word for listener in plan.listeners for word in ("--bind", listener.address)]
        return ServerCommand(
            argv=(*_python("launcher.serving", "gunicorn"), *binds, *words(shown), *plan.pool.server_args, app),
            environ=_environ(plan),
            handover={
                "listeners": crossing(plan.listeners),
                "import_dir": str(plan.import_dir),
                "defaults": words(given_way) if own else [],
                "access_log": plan.log.access_log not in (False, ""),
                "uvicorn": _uvicorn_options(plan),
                "pool": pool_rules(plan),
                "log": log_rules(plan),
            },
        )

    def _decided(self, plan: ServerPlan) -> dict[str, Option]:
        arguments = [*plan.pool.server_args, *_environment_arguments(plan)]
        return {
            "--workers": plan.workers,
            "--worker-class": "uvicorn",
            "--graceful-timeout": whole_seconds(plan.graceful_timeout_s),
            "--access-logfile": "-" if plan.log.access_log is True else None,
            "--worker-tmp-dir": self._heartbeats,
            # On by default since 25.1, and an error in each container without a home (evidence/peers.md §3, 25).
            "--no-control-socket": not mentions(arguments, "--control-socket"),
        }


def _asked(plan: ServerPlan) -> dict[str, Option]:
    pool, http = plan.pool, plan.http
    asked_class = pool.worker_class.value if pool.worker_class else None
    found = _found_by_gunicorn(plan)
    asked: dict[str, Option] = {
        "--config": pool.config,
        "--workers": plan.workers if pool.workers else None,
        "--worker-class": "uvicorn" if asked_class in UVICORN_WORKERS else asked_class,
        "--timeout": whole_seconds(pool.worker_timeout),
        "--graceful-timeout": None if pool.graceful_timeout is None else whole_seconds(plan.graceful_timeout_s),
        "--keep-alive": whole_seconds(http.keep_alive),
        "--max-requests": pool.max_requests,
        "--max-requests-jitter": pool.max_requests_jitter,
        "--preload": pool.preload or None,
        "--log-level": _log_level(plan.log.level),
        "--access-logfile": plan.log.access_log or None if isinstance(plan.log.access_log, str) else None,
        "--error-logfile": _error_log(plan.log.error_log),
        "--forwarded-allow-ips": http.forwarded_allow_ips,
        "--root-path": http.root_path,
        "--certfile": http.ssl_certfile,
        "--keyfile": http.ssl_keyfile,
    }
    return {name: None if name in found else value for name, value in asked.items()}


def _found_by_gunicorn(plan: ServerPlan) -> set[str]:
    """Return the options whose values stand in gunicorn's own file or variable, where gunicorn finds them by itself."""
    pool = plan.pool
    if pool.plain:
        return set()
    origins = {
        "--workers": pool.workers.origin if pool.workers and pool.workers.value == plan.workers else None,
        "--worker-class": pool.worker_class.origin if pool.worker_class else None,
        **{option: plan.origins.get(setting) for option, setting in _READ_AGAIN.items()},
    }
    return {name for name, origin in origins.items() if origin is not None and _is_gunicorns(origin)}


def _is_gunicorns(origin: Origin) -> bool:
    """Tell whether `settings.gunicorn_conventions` wrote it: `workers in gunicorn.conf.py`."""
    return origin.kind is OriginKind.PLATFORM and origin.where.partition(" in ")[0] in NAMES


def _error_log(asked: bool | str) -> str | None:  # noqa: FBT001 - a setting's value
    """Return the file; gunicorn's command line has no word for "none"."""
    return asked if isinstance(asked, str) else None if asked else os.devnull


def _log_level(level: str) -> str | None:
    """`info` is gunicorn's default, and `trace` is only uvicorn's."""
    return {"info": None, "trace": "debug"}.get(level, level)


def _check(plan: ServerPlan, platform: str) -> None:
    if plan.pool.preload and not plan.pool.plain and platform != "linux":
        raise UsageError(
            "preload needs Linux: elsewhere the workers of a preloaded application would not be the server's children",
            cure="leave preload out (preload_app in gunicorn's file), or start the bare server with --plain",
        )
    asked = plan.pool.worker_class.value if plan.pool.worker_class else "uvicorn"
    if plan.pool.reload:
        raise UsageError("gunicorn's workers do not restart on file changes", cure="use --server uvicorn with --reload")
    if asked not in UVICORN_WORKERS and plan.http.proxy_headers is not None:
        raise UsageError(
            f"--proxy-headers has no effect on the worker class {asked}",
            cure="say with --forwarded-allow-ips whose headers are believed",
        )
    refuse(plan.pool.server_args, _REFUSED)


def _has_own_configuration(plan: ServerPlan) -> bool:
    """Tell whether gunicorn will read something of the user's that may disagree with what we decided."""
    return bool(plan.pool.config or _environment_arguments(plan)) or Path("gunicorn.conf.py").exists()


def _environment_arguments(plan: ServerPlan) -> list[str]:
    try:
        return shlex.split(plan.environ.get("GUNICORN_CMD_ARGS", ""))
    except ValueError as error:
        raise UsageError(f"GUNICORN_CMD_ARGS cannot be read: {error}") from None


def _environ(plan: ServerPlan) -> dict[str, str | None]:
    """Gunicorn calls int() on WEB_CONCURRENCY when it is imported: `auto` and blank would be tracebacks.

    Applications divide connections by it: a pool that may grow says the most it may become.
    """
    return {"WEB_CONCURRENCY": str(plan.most_workers)} if "WEB_CONCURRENCY" in plan.environ else {}


def _uvicorn_options(plan: ServerPlan) -> dict[str, object]:
    """What gunicorn has no option for."""
    return {} if plan.http.proxy_headers is None else {"proxy_headers": plan.http.proxy_headers}


def _plain(plan: ServerPlan, options: dict[str, Option], app: str) -> ServerCommand:
    """The bare server: nothing of ours after the exec."""
    if plan.http.proxy_headers is not None:
        raise UsageError("--proxy-headers cannot be handed on with --plain", cure="leave one of them out")
    if options["--worker-class"] == "uvicorn":
        options["--worker-class"] = "uvicorn_worker.UvicornWorker"
    options["--pythonpath"] = str(plan.import_dir)
    binds = [word for listener in plan.listeners for word in ("--bind", f"fd://{listener.fd}")]
    argv = (sys.executable, "-m", "gunicorn", *binds, *words(options), *plan.pool.server_args, app)
    return ServerCommand(argv=argv, environ=_environ(plan))


def _python(module: str, server: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", module, server)


def _writable_tmpfs(folder: Path, mounts: Path) -> str | None:
    """Return `folder` when it is a tmpfs: a heartbeat on a busy disk blocks its worker (gunicorn's FAQ)."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    types = [fields[2] for line in lines if len(fields := line.split()) > 2 and fields[1] == str(folder)]  # noqa: PLR2004 - device, folder, type
    return str(folder) if types[-1:] == ["tmpfs"] and os.access(folder, os.W_OK | os.X_OK) else None
