"""What do the platforms' variables, and those of the retired uvicorn-gunicorn images, say?

PORT and WEB_CONCURRENCY are what every platform sets; the others were the interface of the images
(evidence: peers §4.1), whose users keep their environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from launcher.errors import UsageError
from launcher.origin import Ignored, Origin, OriginKind, Sourced
from launcher.settings.layers import SUM_WINS, Environment, Layer
from launcher.settings.options import BY_NAME
from launcher.settings.topics import StepSettings
from launcher.settings.values import typed

VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "HOST": "host",
        "PORT": "port",
        "FORWARDED_ALLOW_IPS": "forwarded_allow_ips",
        "WORKER_CLASS": "worker_class",
        "MAX_WORKERS": "max_workers",
        "WORKERS_PER_CORE": "workers_per_core",
        "LOG_LEVEL": "log_level",
        "TIMEOUT": "worker_timeout",
        "GRACEFUL_TIMEOUT": "graceful_timeout",
        "KEEP_ALIVE": "keep_alive",
        "GUNICORN_CONF": "config",
    }
)
# Words that applications use for themselves too: what we cannot read is theirs, and no reason to stop.
_ANYBODYS = frozenset({"LOG_LEVEL", "TIMEOUT", "GRACEFUL_TIMEOUT", "KEEP_ALIVE"})
_LOGS: Mapping[str, str] = MappingProxyType({"ACCESS_LOG": "access_log", "ERROR_LOG": "error_log"})
_LEVELS: Mapping[str, str] = MappingProxyType({"warn": "warning", "fatal": "critical"})  # logging's other names
_PRE_START = "app/prestart.sh"  # the images' default, under the root directory


def bind_layer(environment: Environment) -> Layer:
    """Return BIND, which the retired images put above HOST and PORT."""
    return _one("bind", environment.said("BIND"))


def variables_layer(environment: Environment) -> tuple[Layer, list[Ignored]]:
    """Return the plain variables, and those that have no effect."""
    values: dict[str, Sourced[object]] = {}
    ignored = _blank(environment)
    for variable, name in VARIABLES.items():
        said = environment.said(variable)
        if said is None:
            continue
        reason = _no_effect(variable, name, said)
        if reason:
            ignored.append(Ignored(name, said.origin, reason))
        else:
            values[name] = Sourced(_LEVELS.get(said.value.lower(), said.value), said.origin)
    for variable, name in _LOGS.items():
        if variable in environment.values:  # blank means off here
            values[name] = Sourced(environment.values[variable], environment.origin(variable, OriginKind.PLATFORM))
    _add_workers(environment, values, ignored)
    return Layer(values), ignored


def app_layers(environment: Environment, uvicorn: Layer, wsgi: Layer, entrypoint: Sourced[str] | None) -> list[Layer]:
    """Return who names the application, in the order of DESIGN §6, `wsgi_app` of gunicorn's file before fastapi's."""
    return [
        _one("app", environment.said("APP_MODULE")),
        _module_layer(environment),
        Layer({name: said for name, said in uvicorn.values.items() if name == "app"}),
        wsgi,
        _one("app", entrypoint),
    ]


def pre_start(environment: Environment, cwd: Path, root: Path) -> tuple[list[StepSettings], list[Ignored]]:
    """Return the script that the retired images source before the server, as a step at each start."""
    said = environment.said("PRE_START_PATH")
    default = root / _PRE_START
    path = Path(said.value) if said else default
    if not (cwd / path).is_file():
        missing = [Ignored("PRE_START_PATH", said.origin, f"there is no file {said.value}")] if said else []
        return [], missing
    origin = said.origin if said else Origin(OriginKind.PLATFORM, f"{default} is there")
    step = StepSettings(
        name="pre-start",
        type="pre-start-path",
        value=str(path),
        origin=origin,
        found=said is None,
        once_per="start",  # each replica needs what it exports
    )
    return [step], []


def _module_layer(environment: Environment) -> Layer:
    """Return MODULE_NAME and VARIABLE_NAME as one application; the images' default variable is `app`."""
    module, variable = environment.said("MODULE_NAME"), environment.said("VARIABLE_NAME")
    if module is None:
        return _one("variable", variable)
    name = variable.value if variable else "app"
    return _one("app", Sourced(f"{module.value}:{name}", module.origin))


def _one(name: str, said: Sourced[str] | None) -> Layer:
    return Layer({name: Sourced(said.value, said.origin)} if said else {})


def _no_effect(variable: str, name: str, said: Sourced[str]) -> str:
    if variable == "MAX_WORKERS" and said.value.strip() == "0":
        return "0 caps nothing"
    if variable not in _ANYBODYS or said.value.lower() in _LEVELS:
        return ""
    try:
        typed(BY_NAME[name], Sourced(said.value, said.origin))
    except UsageError:
        return f"{said.value!r} is not a value of ours, so it is taken for the application's"
    return ""


def _blank(environment: Environment) -> list[Ignored]:
    names = {**VARIABLES, "BIND": "bind", "WEB_CONCURRENCY": "workers"}
    return [
        Ignored(
            name,
            environment.origin(variable, OriginKind.PLATFORM),
            "it is blank, which counts as not set",
        )
        for variable, name in names.items()
        if variable in environment.values and not environment.values[variable].strip()
    ]


def _add_workers(environment: Environment, values: dict[str, Sourced[object]], ignored: list[Ignored]) -> None:
    said, by = environment.said("WEB_CONCURRENCY"), environment.said("WEB_CONCURRENCY_SET_BY")
    if said is None:
        return
    if by is not None:
        ignored.append(Ignored("workers", said.origin, f"it is a platform's guess (set by {by.value}): {SUM_WINS}"))
    else:
        values["workers"] = Sourced(said.value, said.origin)
