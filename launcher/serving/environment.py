"""Which of uvicorn's own variables reach it?

uvicorn reads `UVICORN_*` on its command line only; under gunicorn nobody would. They are parsed by uvicorn's own
command, so that names, types and errors are uvicorn's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from launcher.errors import ExitCode

_PREFIX = "UVICORN_"
# Settings of the launcher read these (they have an option of its own), or gunicorn does the thing itself.
_NOT_FOR_A_WORKER = frozenset(
    [
        "app",
        "host",
        "port",
        "uds",
        "fd",
        "workers",
        "reload",
        "reload_dirs",
        "reload_includes",
        "reload_excludes",
        "reload_delay",
        "env_file",
        "app_dir",
        "factory",
        "log_config",
        "log_level",
        "access_log",
        "use_colors",
        "proxy_headers",
        "forwarded_allow_ips",
        "root_path",
        "limit_max_requests",
        "limit_max_requests_jitter",
        "timeout_keep_alive",
        "timeout_graceful_shutdown",
        "timeout_worker_healthcheck",
        "ssl_keyfile",
        "ssl_certfile",
    ]
)


def uvicorn_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return keyword arguments for uvicorn.Config from `UVICORN_*`; a value that uvicorn refuses is exit code 2.

    What is parsed is the process's environment; `environ` only tells whether that is worth uvicorn's imports.
    """
    if not any(_may_concern_a_worker(name) for name in environ):
        return {}
    from uvicorn.main import main

    try:
        context = main.make_context("uvicorn", ["unused:app"])
    except Exception as error:  # noqa: BLE001 - click's, which only our command line may import
        sys.stderr.write(f"\nError: {getattr(error, 'message', '') or error}\n")
        sys.exit(ExitCode.USAGE)
    sources = {name: context.get_parameter_source(name) for name in context.params}
    said = [name for name, source in sources.items() if source is not None and source.name == "ENVIRONMENT"]
    return {name: config_value(name, context.params[name]) for name in said if name not in _NOT_FOR_A_WORKER}


def config_value(name: str, value: Any) -> Any:
    """Return a command-line value as uvicorn.Config takes it: only headers differ."""
    return [tuple(header.split(":", 1)) for header in value] if name == "headers" else value


def _may_concern_a_worker(variable: str) -> bool:
    return variable.startswith(_PREFIX) and variable.removeprefix(_PREFIX).lower() not in _NOT_FOR_A_WORKER
