"""How do decisions become words on a server's command line?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from launcher.errors import UsageError
from launcher.log import log
from launcher.servers import Listener, ServerPlan

Option = str | float | bool | None

# What a person may call the worker class that is ours: uvicorn-worker's, and the retired images' WORKER_CLASS.
UVICORN_WORKERS = ("uvicorn", "uvicorn_worker.UvicornWorker", "uvicorn.workers.UvicornWorker")


def words(options: Mapping[str, Option]) -> list[str]:
    """Return `--name value` for each; None and False are left out, True is the name alone."""
    result: list[str] = []
    for name, value in options.items():
        if value is True:
            result.append(name)
        elif value is not None and value is not False:
            result += _pair(name, str(value))
    return result


def _pair(name: str, value: str) -> list[str]:
    """Return one word where the value would be taken for an option of its own."""
    return [f"{name}={value}"] if value.startswith("-") and value != "-" else [name, value]


def whole_seconds(duration_s: float | None) -> int | None:
    """Round up: the servers count whole seconds, and 0 would switch their time limit off."""
    return None if duration_s is None else math.ceil(duration_s)


def refuse(server_args: Sequence[str], forbidden: Mapping[str, str]) -> None:
    """Raise UsageError when an argument after `--` would take over what the launcher does; `forbidden` says why."""
    for word in server_args:
        for name, because in forbidden.items():
            if _is_option(word, name):
                raise UsageError(f"{word} after `--`: {because}")


def mentions(arguments: Iterable[str], name: str) -> bool:
    """Tell whether an option is among words for a server."""
    return any(_is_option(word, name) for word in arguments)


def _is_option(word: str, name: str) -> bool:
    if name.startswith("--"):
        return word.partition("=")[0] == name
    return word.startswith(name) and not word.startswith("--")  # -b ADDRESS, -bADDRESS


def crossing(listeners: Sequence[Listener]) -> list[dict[str, object]]:
    """Return the listeners as they cross the exec."""
    return [{"address": listener.address, "fd": listener.fd} for listener in listeners]


def pool_rules(plan: ServerPlan) -> dict[str, object]:
    """Return what the pool is to do as it crosses the exec: the fields of `launcher.serving.rules.Rules`.

    What nobody said is left out and has the default there.
    """
    pool = plan.pool
    asked = {"startup_timeout_s": pool.startup_timeout, "worker_timeout_s": pool.worker_timeout}
    return {
        "workers": plan.workers,
        **{name: value for name, value in asked.items() if value is not None},
        "graceful_timeout_s": plan.graceful_timeout_s,
        "drain_delay_s": plan.drain_delay_s,
        "max_worker_lifetime_s": pool.max_worker_lifetime,
        "restart_intensity": pool.restart_intensity,
        "wrap_app": list(plan.wrap_app),
        "health_worker": plan.health_worker,
        "metrics_by_status": plan.metrics_by_status,
        "memory": pool.memory.value if pool.memory is not None else None,
        "may_overcommit": pool.allow_overcommit,
        "growth": plan.growth.crossing() if plan.growth is not None else None,
    }


def log_rules(plan: ServerPlan) -> dict[str, object]:
    """Return how lines are to look on the other side of the exec."""
    return {
        "console": log.console,
        "level": plan.log.level,
        "access": plan.log.access_log,
        "error": plan.log.error_log,
        "access_exclude": list(plan.log.access_log_exclude),
    }
