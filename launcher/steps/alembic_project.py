"""What does a project tell about its migrations without running anything?

Its configuration, read as Alembic's `Config` reads it (an ini section, then [tool.alembic] of pyproject.toml), where
the migrations are, and whether its env.py does anything that makes guessing at the database unsafe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.steps.revisions import CannotTell

PYPROJECT = "pyproject.toml"
_SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}  # alembic.config's words
_LEGACY_SEPARATOR = re.compile(r", *|(?: +)")
# A loop over databases, arguments from elsewhere.
_UNUSUAL_IN_ENV_PY = re.compile(rb"(?m)\*\*|^\s*(?:async\s+)?for\s.+:\s*(?:#.*)?$")
# With one of these in env.py or the ini, a plain question to one URL may read another table than Alembic does.
_UNUSUAL = re.compile(
    rb"(?im)version_table|search_path|schema_translate_map|set\s+role|tenant|\bcreator\b|do_connect|^\s*databases\s*="
)
# What env.py imports by name from the application, and those names that may bring a database with them.
_IMPORTED = re.compile(
    rb"(?m)^[ \t]*from\s+(?!(?:sqlalchemy|sqlmodel|alembic|logging|typing|urllib)\b)\S+\s+import\s+(\([^)]*\)|[^\n]*)"
)
_CHOICE = re.compile(rb"(?i)(?:engine|connection|ur[il]|dsn|settings?|config)s?\b")
_ENGINE_OF_ANOTHER = re.compile(rb"(?<!\bsqlalchemy)\.engine\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The parts of the configuration that matter before anything is run. Paths are absolute."""

    config: Path
    env_py: Path
    version_folders: tuple[Path, ...]
    recursive: bool

    def is_unusual(self) -> bool:
        """Whether env.py or the configuration speaks of other version tables, schemas or databases, or may do so."""
        env_py = self.env_py.read_bytes()
        if b"configure(" not in env_py or _UNUSUAL_IN_ENV_PY.search(env_py):
            return True
        return any(_UNUSUAL.search(content) for content in (env_py, self.config.read_bytes()))

    def reads(self, name: str) -> bool:
        """Whether env.py or the configuration has the name in quotes, and env.py takes no engine or URL from elsewhere.

        The word anywhere else in the project says nothing about what env.py uses.
        """
        env_py = self.env_py.read_bytes()
        if _ENGINE_OF_ANOTHER.search(env_py) or any(_CHOICE.search(names) for names in _IMPORTED.findall(env_py)):
            return False
        quoted = re.compile(rb"(?m)^[^#;\n]*([\"'])" + re.escape(name.encode()) + rb"\1")
        return any(quoted.search(content) for content in (env_py, self.config.read_bytes()))


def found_alembic(cwd: Path) -> Path | None:
    """Return the project's alembic.ini, or its pyproject.toml when that has [tool.alembic], or None."""
    if (cwd / "alembic.ini").is_file():
        return cwd / "alembic.ini"
    return cwd / PYPROJECT if "script_location" in _toml(cwd / PYPROJECT) else None


def read_project(config: Path, section: str, cwd: Path) -> Project:
    """Return what the configuration says. Raises CannotTell for what only Alembic can work out."""
    options = _options(config, section, cwd)
    location = options.get("script_location")
    if not isinstance(location, str):
        raise CannotTell(f"no script_location in {config.name}")
    if _true(options.get("sourceless")):
        raise CannotTell("sourceless migrations")
    folder = _folder(location, cwd)
    if not (folder / "env.py").is_file():
        raise CannotTell(f"there is no {folder / 'env.py'}")
    versions = _version_locations(options)
    return Project(
        config=config,
        env_py=folder / "env.py",
        version_folders=tuple(_folder(each, cwd) for each in versions) or (folder / "versions",),
        recursive=_true(options.get("recursive_version_locations")),
    )


def _options(config: Path, section: str, cwd: Path) -> Mapping[str, object]:
    """Return all options of the section; those of an ini win over those of pyproject.toml, as in Alembic."""
    if config.name == PYPROJECT:
        ini, toml = cwd / "alembic.ini", config
    else:
        ini, toml = config, cwd / PYPROJECT
    return {**_toml(toml), **_ini(ini, section)}


def _ini(path: Path, section: str) -> Mapping[str, object]:
    import configparser

    parser = configparser.ConfigParser({"here": path.parent.as_posix()})
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
        return {name: parser.get(section, name) for name in _READ if parser.has_option(section, name)}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise CannotTell(f"{path.name}: {error}") from error


_READ = (
    "script_location",
    "version_locations",
    "version_path_separator",
    "path_separator",
    "recursive_version_locations",
    "sourceless",
)


def _toml(path: Path) -> Mapping[str, object]:
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    if b"alembic" not in content:
        return {}
    import tomllib

    try:
        table = tomllib.loads(content.decode()).get("tool", {}).get("alembic", {})
        return {name: _filled(value, path.parent) for name, value in table.items()} if isinstance(table, dict) else {}
    except (ValueError, TypeError, KeyError) as error:
        raise CannotTell(f"{path.name}: {error}") from error


def _filled(value: object, here: Path) -> object:
    if isinstance(value, str):
        return value % {"here": here.as_posix()}
    return [_filled(each, here) for each in value] if isinstance(value, list) else value


def _version_locations(options: Mapping[str, object]) -> list[str]:
    value = options.get("version_locations")
    if not value:
        return []
    if isinstance(value, list):
        return [str(each) for each in value]
    word = options.get("path_separator", options.get("version_path_separator"))
    if word is None:
        return _LEGACY_SEPARATOR.split(str(value))
    if word not in _SEPARATORS:
        raise CannotTell(f"path_separator = {word}")
    return [each.strip() for each in str(value).split(_SEPARATORS[str(word)]) if each.strip()]


def _folder(location: str, cwd: Path) -> Path:
    if not Path(location).is_absolute() and ":" in location:
        raise CannotTell(f"{location} is a resource of a package")
    return cwd / location


def _true(value: object) -> bool:
    return value is True or value == "true"
