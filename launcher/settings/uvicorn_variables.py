"""What do uvicorn's variables say that is also an option of ours?

`uvicorn` reads every option as UVICORN_<OPTION> (click's `auto_envvar_prefix`). Those with a twin among our options are
taken over; the others are left to the server; unknown ones are said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from launcher.origin import Ignored, OriginKind, Sourced
from launcher.settings.layers import Environment, Layer

PREFIX = "UVICORN_"
# what follows the prefix → our option
TWINS: Mapping[str, str] = MappingProxyType(
    {
        "APP": "app",
        "HOST": "host",
        "PORT": "port",
        "UDS": "uds",
        "FD": "fd",
        "WORKERS": "workers",
        "LOG_LEVEL": "log_level",
        "ACCESS_LOG": "access_log",
        "PROXY_HEADERS": "proxy_headers",
        "FORWARDED_ALLOW_IPS": "forwarded_allow_ips",
        "ROOT_PATH": "root_path",
        "TIMEOUT_KEEP_ALIVE": "keep_alive",
        "TIMEOUT_GRACEFUL_SHUTDOWN": "graceful_timeout",
        "LIMIT_MAX_REQUESTS": "max_requests",
        "LIMIT_MAX_REQUESTS_JITTER": "max_requests_jitter",
        "SSL_KEYFILE": "ssl_keyfile",
        "SSL_CERTFILE": "ssl_certfile",
        "ENV_FILE": "env_file",
        "APP_DIR": "app_dir",
        "FACTORY": "factory",
        "RELOAD": "reload",
        "RELOAD_DIRS": "reload_dir",
    }
)
# uvicorn 0.54's other options: a test compares this with the installed uvicorn
LEFT_TO_UVICORN = frozenset(
    {
        "RELOAD_INCLUDES",
        "RELOAD_EXCLUDES",
        "RELOAD_DELAY",
        "LOOP",
        "HTTP",
        "HTTP2",
        "WS",
        "WS_MAX_SIZE",
        "WS_MAX_QUEUE",
        "WS_PING_INTERVAL",
        "WS_PING_TIMEOUT",
        "WS_PER_MESSAGE_DEFLATE",
        "LIFESPAN",
        "INTERFACE",
        "LOG_CONFIG",
        "USE_COLORS",
        "SERVER_HEADER",
        "DATE_HEADER",
        "LIMIT_CONCURRENCY",
        "BACKLOG",
        "TIMEOUT_WORKER_HEALTHCHECK",
        "SSL_KEYFILE_PASSWORD",
        "SSL_VERSION",
        "SSL_CERT_REQS",
        "SSL_CA_CERTS",
        "SSL_CIPHERS",
        "HEADERS",
        "H11_MAX_INCOMPLETE_EVENT_SIZE",
        "RESET_CONTEXTVARS",
    }
)


def uvicorn_layer(environment: Environment) -> tuple[Layer, list[Ignored]]:
    """Return the UVICORN_ variables that are options of ours, and those that have no effect."""
    values: dict[str, Sourced[object]] = {}
    ignored: list[Ignored] = []
    for variable, text in environment.values.items():
        rest = variable.removeprefix(PREFIX)
        if rest == variable or rest in LEFT_TO_UVICORN:
            continue
        origin = environment.origin(variable, OriginKind.PLATFORM)
        if rest not in TWINS:
            ignored.append(Ignored(variable, origin, "uvicorn has no such option"))
        elif not text.strip():
            ignored.append(Ignored(TWINS[rest], origin, "it is blank, which counts as not set"))
        else:
            # A list of folders is written like PATH: click splits the variable of a path option there.
            values[TWINS[rest]] = Sourced(text.split(os.pathsep) if rest == "RELOAD_DIRS" else text, origin)
    return Layer(values), ignored
