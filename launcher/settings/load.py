"""What was asked for, all places together?

Command line > LAUNCHER_* > launcher.toml or [tool.launcher] > /etc/launcher.toml > conventions > defaults (DESIGN §6).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.errors import UsageError
from launcher.origin import Ignored, OriginKind, Sourced
from launcher.settings.addresses import NAMES as ADDRESS_NAMES
from launcher.settings.addresses import Addresses, fold
from launcher.settings.assemble import Asked, assemble
from launcher.settings.conflicts import settle
from launcher.settings.conventions import read_conventions
from launcher.settings.env_file import with_file
from launcher.settings.files import FileSettings, read_files
from launcher.settings.layers import Environment, Layer, Merged, merge, without
from launcher.settings.options import BY_NAME
from launcher.settings.sources import command_line_layer, environment_layer
from launcher.settings.topics import Settings

# What is needed to find the other settings cannot come out of a file that they lead to.
_CHOSEN_FIRST = ("config", "env_file")


def load(
    command_line: Mapping[str, object],
    *,
    server_args: Sequence[str] = (),
    cwd: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
) -> Settings:
    """Return the settings, each with its origin.

    `command_line` has only what was given: option names or `Alias.key` → text, truth or list. `server_args` is what
    stood after `--`. `root` is where /etc and the retired images' files are. Raises UsageError with place and cure.
    """
    cwd = Path.cwd() if cwd is None else cwd
    given, named = _settings_file(command_line_layer(command_line), environ)
    files = read_files(cwd, root, named)
    _check_file_config(files)
    environment = with_file(environ, _env_file(given, environ, files), cwd)
    variables, ignored = _environment_layer(environment, environ)
    own = (given, variables, files.layer, files.fleet)
    conventions = read_conventions(environment, merge(own), files.entrypoint, cwd=cwd, root=root)
    layers = (*own, *conventions.layers)
    merged = merge(without(layer, *ADDRESS_NAMES) for layer in layers)
    if conventions.no_gunicorn:
        merged.lose("config", conventions.no_gunicorn)
    settle(merged)
    addresses = _addresses(layers, merged)
    ignored += [*files.ignored, *conventions.ignored, *addresses.ignored]
    merged.ignore(ignored)
    return assemble(
        merged,
        Asked(
            cwd=cwd,
            bind=addresses.bind,
            steps=(*conventions.steps, *(files.steps or ())),
            server_args=tuple(server_args),
            environ=environment.values,
        ),
    )


def _settings_file(given: Layer, environ: Mapping[str, str]) -> tuple[Layer, Sourced[str] | None]:
    """Take `-c FILE.toml` (or LAUNCHER_CONFIG) out: it names our settings, any other file is gunicorn's."""
    said = given.values.get("config")
    if said is not None and str(said.value).endswith(".toml"):
        return without(given, "config"), Sourced(str(said.value), said.origin)
    variable = BY_NAME["config"].variable
    if environ.get(variable, "").endswith(".toml"):
        return given, Environment(environ).said(variable, OriginKind.ENVIRONMENT)
    return given, None


def _environment_layer(environment: Environment, environ: Mapping[str, str]) -> tuple[Layer, list[Ignored]]:
    """Return the LAUNCHER_ variables without those that had to be known earlier."""
    layer, ignored = environment_layer(environment)
    late = [name for name in _CHOSEN_FIRST if name in layer.values and BY_NAME[name].variable not in environ]
    for name in late:
        ignored.append(Ignored(name, layer.values[name].origin, f"{name} is needed before that file is read"))
    config = layer.values.get("config")
    if config is not None and str(config.value).endswith(".toml"):
        late.append("config")
    return without(layer, *late), ignored


def _check_file_config(files: FileSettings) -> None:
    for layer in (files.layer, files.fleet):
        said = layer.values.get("config")
        if said is not None and str(said.value).endswith(".toml"):
            raise UsageError(
                f"{said.origin}: a settings file cannot name another one",
                cure="name it with -c or LAUNCHER_CONFIG; here stands gunicorn's configuration",
            )


def _env_file(given: Layer, environ: Mapping[str, str], files: FileSettings) -> Sourced[object] | None:
    process = Environment(environ)
    candidates = (
        given.values.get("env_file"),
        process.said(BY_NAME["env_file"].variable, OriginKind.ENVIRONMENT),
        files.layer.values.get("env_file"),
        files.fleet.values.get("env_file"),
        process.said("UVICORN_ENV_FILE"),
    )
    return next((Sourced(said.value, said.origin) for said in candidates if said is not None), None)


def _addresses(layers: Sequence[Layer], merged: Merged) -> Addresses:
    """Return where to listen, and put the options that said so among the winners."""
    addresses = fold(layers, reload=merged.value("reload", bool) or False)
    merged.winners.update(addresses.winners)
    return addresses
