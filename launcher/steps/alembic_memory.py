"""How can the next start ask the database without running env.py?

Kept is how the URL can be had again, never a secret: the name of the environment variable that holds it, or the URL
itself when it has no password. It counts as long as everything that env.py may depend on is as it was; when that is
not so, env.py is asked again, which only costs time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.databases import url as databases
from launcher.own_source import hash_files, source_files
from launcher.steps.alembic_project import Project

_VOLATILE = frozenset(
    {"PORT", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_", "TERM", "COLUMNS", "LINES", "TERM_PROGRAM", "COLORTERM"}
    | {"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"}
    | {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "MANAGERPID", "DYNO", "WINDOWID", "SSH_CLIENT", "SSH_TTY"}
    | {"SSH_CONNECTION", "SSH_AUTH_SOCK", "XDG_SESSION_ID", "PYTHONUNBUFFERED", "FLY_MACHINE_ID", "FLY_PRIVATE_IP"}
    | {"FLY_ALLOC_ID", "FLY_MACHINE_VERSION", "RAILWAY_REPLICA_ID", "RENDER_INSTANCE_ID", "WEB_CONCURRENCY"}
)
_VOLATILE_PREFIXES = ("LISTEN_", "LAUNCHER_", "LAUNCH_TEST_", "COV_CORE_", "COVERAGE_", "PYTEST_")
_SECRETS = Path("/run/secrets")  # where Docker and Podman mount them
_LARGEST_FILE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The version table of one database. The URL may have a password: it stays in memory."""

    url: str
    name: str = "alembic_version"
    schema: str | None = None

    @property
    def question(self) -> str:
        """The SQL that reads the current revisions."""
        mark = "`" if databases.parse(self.url).dialect in {"mysql", "mariadb"} else '"'
        names = [part.replace(mark, mark * 2) for part in (self.schema, self.name) if part]
        return f"SELECT version_num FROM {'.'.join(f'{mark}{name}{mark}' for name in names)}"  # noqa: S608 - quoted

    @property
    def database(self) -> str:
        """The database, without user, password and options: `sqlite:/path`, `postgresql://host:5432/name`."""
        return databases.database_name(self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What an answer of env.py rests on: it holds as long as the mark is the same."""

    mark: str
    opened: tuple[str, ...]


def to_remember(table: Table, basis: Basis, cwd: Path, environ: Mapping[str, str]) -> dict[str, object] | None:
    """Return what may be kept (JSON), or None when the URL could only be kept with its password."""
    kept: dict[str, object] = {"mark": basis.mark, "opened": list(basis.opened)}
    kept |= {"name": table.name, "schema": table.schema}
    for name in sorted(environ, key=lambda each: (environ[each] != table.url, each)):
        if "://" in environ[name] and _is(environ[name], table.url, cwd):
            return kept | {"variable": name}
    if databases.parse(table.url).has_secret:
        return None
    return kept | {"url": databases.absolute(table.url, cwd)}


def recall(kept: object, project: Project, cwd: Path, environ: Mapping[str, str]) -> tuple[Table, Basis] | None:
    """Return the table that was kept, or None when it is not known or anything has changed since."""
    if not isinstance(kept, dict) or not isinstance(opened := kept.get("opened"), list):
        return None
    basis = Basis(mark=str(kept.get("mark")), opened=tuple(map(str, opened)))
    if not holds(basis, project, cwd, environ):
        return None
    url = environ.get(str(kept["variable"])) if "variable" in kept else kept.get("url")
    name, schema = kept.get("name"), kept.get("schema")
    if not isinstance(url, str) or not isinstance(name, str) or not isinstance(schema, str | None):
        return None
    return Table(url=databases.absolute(url, cwd), name=name, schema=schema), basis


def holds(basis: Basis, project: Project, cwd: Path, environ: Mapping[str, str]) -> bool:
    """Whether everything that env.py's answer may depend on is as it was."""
    return basis.mark == fingerprint(project, cwd, environ, basis.opened)


def fingerprint(project: Project, cwd: Path, environ: Mapping[str, str], opened: Sequence[str] = ()) -> str:
    """Return a hash (hex) of what env.py may choose its database by.

    Source, configuration, environment, secrets, the files it opened, and when something was last installed.
    """
    told = sorted(f"{name}={value}" for name, value in environ.items() if not _is_volatile(name))
    first = hashlib.sha256("\0".join([*told, "", *_installed()]).encode(errors="surrogateescape")).digest()
    files = {*source_files(cwd), *_beside(project, cwd, environ)}
    known = {os.fspath(path) for _, path in files}
    files |= {(path, Path(path)) for path in opened if path not in known}
    return hash_files(sorted(files), first=first)


def _installed() -> Iterator[str]:
    """Yield the folders of installed packages with their times (ns): an application may be one of the packages."""
    for folder in sys.path:
        if folder.rstrip("/").endswith("-packages"):
            with contextlib.suppress(OSError):
                yield f"{folder} {Path(folder).stat().st_mtime_ns}"


def _is_volatile(name: str) -> bool:
    return name in _VOLATILE or name.startswith(_VOLATILE_PREFIXES)


def _is(value: str, url: str, cwd: Path) -> bool:
    """Whether a variable's value is this URL, exactly or with another driver."""
    try:
        return value == url or databases.same(databases.absolute(value, cwd), databases.absolute(url, cwd))
    except ValueError:
        return False


def _beside(project: Project, cwd: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield what is no source and decides all the same: configuration elsewhere, .env files, mounted secrets."""
    named = [environ[name] for name in environ if name.endswith("_FILE") and Path(environ[name]).is_absolute()]
    folders = [(cwd, ".env*"), (_SECRETS, "*"), *((each, "*.py") for each in project.version_folders)]
    for path in (project.config, project.env_py, *map(Path, named), *_globbed(folders)):
        try:
            if path.is_file() and path.stat().st_size <= _LARGEST_FILE:
                yield str(path), path
        except OSError:
            continue


def _globbed(folders: list[tuple[Path, str]]) -> Iterator[Path]:
    for folder, pattern in folders:
        if folder.is_dir():
            yield from folder.glob(pattern)
