"""What do the conventions of platforms and servers say, and in which order?

Strongest first; all of them are weaker than anything written for the launcher itself:

1. GUNICORN_CMD_ARGS, as gunicorn and the retired images have it
2. gunicorn's configuration file
3. UVICORN_*: written for a server, so more on purpose than a platform's variable
4. BIND of the retired images, above HOST and PORT
5. the platforms' variables: HOST, PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS, and the retired images' others

The application alone has its own order (DESIGN §6): APP_MODULE, MODULE_NAME with VARIABLE_NAME, UVICORN_APP, wsgi_app
of gunicorn's file, `[tool.fastapi] entrypoint`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from launcher.origin import Ignored, Origin, Sourced
from launcher.settings.gunicorn_conventions import GunicornSays, present, read_gunicorn
from launcher.settings.layers import Environment, Layer, Merged, merge, without
from launcher.settings.platform_variables import app_layers, bind_layer, pre_start, variables_layer
from launcher.settings.topics import StepSettings
from launcher.settings.uvicorn_variables import uvicorn_layer


@dataclass(frozen=True, slots=True)
class Conventions:
    """Layers, strongest first; steps that go before all others; what has no effect; why gunicorn is not asked."""

    layers: tuple[Layer, ...]
    steps: tuple[StepSettings, ...]
    ignored: tuple[Ignored, ...]
    no_gunicorn: str = ""


def read_conventions(
    environment: Environment, own: Merged, entrypoint: Sourced[str] | None, *, cwd: Path, root: Path
) -> Conventions:
    """Return what the conventions say. `own` is what was said to the launcher itself, already merged.

    Raises UsageError when gunicorn's arguments or file are broken.
    """
    uvicorn, ignored = uvicorn_layer(environment)
    variables, without_effect = variables_layer(environment)
    steps, missing = pre_start(environment, cwd, root)
    ignored += without_effect + missing
    other = _other_server(own, uvicorn)
    no_gunicorn = f"only gunicorn reads it, and {other} asks for another server" if other else ""
    if no_gunicorn:
        gunicorn = GunicornSays(Layer(), Layer(), Layer())
        ignored += [Ignored("config", origin, no_gunicorn) for origin in present(environment, cwd, root)]
        variables = without(variables, "config")
    else:
        gunicorn = read_gunicorn(environment, _config(own, variables), cwd=cwd, root=root)
    layers = (gunicorn.arguments, gunicorn.file, without(uvicorn, "app"), bind_layer(environment), variables)
    apps = app_layers(environment, uvicorn, gunicorn.app, entrypoint)
    return Conventions((*layers, *apps), tuple(steps), (*ignored, *gunicorn.ignored), no_gunicorn)


def _other_server(own: Merged, uvicorn: Layer) -> Origin | None:
    """Return who asks for a server other than gunicorn; --reload means uvicorn unless a server is named (DESIGN §6)."""
    server = own.winners.get("server")
    if server is not None:
        return None if server.value == "gunicorn" else server.origin
    reload = own.winners.get("reload") or merge([uvicorn]).winners.get("reload")
    return reload.origin if reload is not None and reload.value else None


def _config(own: Merged, variables: Layer) -> Sourced[str] | None:
    return cast("Sourced[str] | None", own.winners.get("config") or variables.values.get("config"))
