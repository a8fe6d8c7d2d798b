"""What do launcher.toml, pyproject.toml and /etc/launcher.toml say?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import UsageError
from launcher.origin import Ignored, Origin, OriginKind, Sourced
from launcher.settings.layers import Layer
from launcher.settings.nearest import nearest_option
from launcher.settings.options import BY_NAME
from launcher.settings.steps import steps_of
from launcher.settings.topics import StepSettings

OWN_FILE = "launcher.toml"
PROJECT_FILE = "pyproject.toml"
FLEET_FILE = "etc/launcher.toml"


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What the files said. `steps` None: no file has a `[[prestart]]`."""

    layer: Layer = field(default_factory=Layer)
    fleet: Layer = field(default_factory=Layer)
    steps: tuple[StepSettings, ...] | None = None
    entrypoint: Sourced[str] | None = None  # `[tool.fastapi] entrypoint`
    ignored: tuple[Ignored, ...] = ()


def read_files(cwd: Path, root: Path, named: Sourced[str] | None) -> FileSettings:
    """Return the settings of the working directory (or of the file `named` by -c) and those of the fleet.

    Raises UsageError for what cannot be read, parsed or understood, with the place.
    """
    project = _project_table(cwd)
    table, where, ignored = _own_table(cwd, project, named)
    layer, steps = _understood(table, where)
    fleet_path = root / FLEET_FILE
    fleet, fleet_steps = _understood(
        _parsed(fleet_path, str(fleet_path)) if fleet_path.is_file() else {}, str(fleet_path)
    )
    if steps is not None and fleet_steps is not None:
        ignored.append(Ignored("[[prestart]]", Origin(OriginKind.FILE, str(fleet_path)), f"{where} has its own"))
    return FileSettings(layer, fleet, steps if steps is not None else fleet_steps, _entrypoint(project), tuple(ignored))


def _own_table(
    cwd: Path, project: Mapping[str, object], named: Sourced[str] | None
) -> tuple[Mapping[str, object], str, list[Ignored]]:
    """Return the launcher's own table, the name of its place, and the files that another one made void."""
    in_project = _sub_table(project, PROJECT_FILE, "tool", "launcher")
    present = [OWN_FILE] * os.path.lexists(cwd / OWN_FILE) + [f"[tool.launcher] in {PROJECT_FILE}"] * (
        in_project is not None
    )
    if named is not None:
        path = cwd / named.value
        table = _parsed(path, named.value)
        if path.name == PROJECT_FILE:
            table = _sub_table(table, named.value, "tool", "launcher") or {}
        others = [] if path.parent == cwd and path.name in {OWN_FILE, PROJECT_FILE} else present
        return table, named.value, [_superseded(other, named) for other in others]
    if len(present) > 1:
        raise UsageError(f"{present[0]} and {present[1]} are both there", cure="keep the settings in one of them")
    if present == [OWN_FILE]:
        return _parsed(cwd / OWN_FILE, OWN_FILE), OWN_FILE, []
    return in_project or {}, f"[tool.launcher] in {PROJECT_FILE}", []


def _superseded(other: str, named: Sourced[str]) -> Ignored:
    return Ignored("config", Origin(OriginKind.FILE, other), f"{named.origin} names {named.value}")


def _project_table(cwd: Path) -> Mapping[str, object]:
    """Return pyproject.toml, parsed only when it can hold what we look for: parsing costs milliseconds."""
    path = cwd / PROJECT_FILE
    if not path.is_file():
        return {}
    text = _read(path, PROJECT_FILE)
    if b"launcher" not in text and not (b"fastapi" in text and b"entrypoint" in text):
        return {}
    return _parsed(path, PROJECT_FILE)


def _entrypoint(project: Mapping[str, object]) -> Sourced[str] | None:
    table = _sub_table(project, PROJECT_FILE, "tool", "fastapi") or {}
    value = table.get("entrypoint")
    where = f"[tool.fastapi] entrypoint in {PROJECT_FILE}"
    return Sourced(value, Origin(OriginKind.PLATFORM, where)) if isinstance(value, str) and value else None


def _sub_table(table: Mapping[str, object], where: str, *keys: str) -> Mapping[str, object] | None:
    for key in keys:
        found = table.get(key)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise UsageError(f"{where}: {key} is not a table", cure=f"write [{'.'.join(keys)}]")
        table = found
    return table


def _understood(table: Mapping[str, object], where: str) -> tuple[Layer, tuple[StepSettings, ...] | None]:
    """Return the options and the steps of one table; raise UsageError for a key that is neither."""
    values: dict[str, Sourced[object]] = {}
    steps: tuple[StepSettings, ...] | None = None
    for key, value in _flat(table).items():
        if key not in BY_NAME:
            raise _unknown(key, where)
        if key == "prestart" and not isinstance(value, str):
            steps = steps_of(value, where, with_modules=bool(table.get("plugins")))
        else:
            values[key] = Sourced(value, Origin(OriginKind.FILE, f"{key} in {where}"))
    return Layer(values, strict=True), steps


def _flat(table: Mapping[str, object]) -> dict[str, object]:
    """Return the table with `[health] http = ...` as `health_http`: the one topic that may be a table of its own."""
    health = table.get("health")
    if not isinstance(health, dict):
        return dict(table)
    own = {f"health_{key}": value for key, value in health.items()}
    return {key: value for key, value in table.items() if key != "health"} | own


def _unknown(key: str, where: str) -> UsageError:
    found = nearest_option(key)
    cure = f"did you mean {found}?" if found else "`launcher run --help` lists the settings"
    return UsageError(f"{where}: there is no setting {key!r}", cure=cure)


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{where} cannot be read: {error.strerror or error}", cure="check its path and permissions"
        ) from None


def _parsed(path: Path, where: str) -> Mapping[str, object]:
    import tomllib  # 5 ms, needed only when there is a file

    try:
        return tomllib.loads(_read(path, where).decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8 (byte {error.start})", cure="save it as UTF-8, as TOML asks") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}", cure="correct that line") from None
