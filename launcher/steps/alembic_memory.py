"""How can the next start ask the database without running env.py?

Kept is how the URL can be had again, never a secret: the name of the environment variable that holds it, or the URL
itself when it has no password. It counts as long as everything that env.py may depend on is as it was; when that is
not so, env.py is asked again, which only costs time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
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


def to_remember(table: Table, mark: str, cwd: Path, environ: Mapping[str, str]) -> dict[str, object] | None:
    """Return what may be kept (JSON), or None when the URL could only be kept with its password."""
    kept: dict[str, object] = {"mark": mark, "name": table.name, "schema": table.schema}
    for name in sorted(environ, key=lambda each: (environ[each] != table.url, each)):
        if "://" in environ[name] and _is(environ[name], table.url, cwd):
            return kept | {"variable": name}
    if databases.parse(table.url).has_secret:
        return None
    return kept | {"url": databases.absolute(table.url, cwd)}


def recall(kept: object, mark: str, cwd: Path, environ: Mapping[str, str]) -> Table | None:
    """Return the table that was kept, or None when it is not known or anything has changed since."""
    if not isinstance(kept, dict) or kept.get("mark") != mark:
        return None
    url = environ.get(str(kept["variable"])) if "variable" in kept else kept.get("url")
    name, schema = kept.get("name"), kept.get("schema")
    if not isinstance(url, str) or not isinstance(name, str) or not isinstance(schema, str | None):
        return None
    return Table(url=databases.absolute(url, cwd), name=name, schema=schema)


def fingerprint(project: Project, cwd: Path, environ: Mapping[str, str]) -> str:
    """Return a hash (hex) of what env.py may choose its database by: source, configuration, environment, secrets."""
    variables = sorted(f"{name}={value}" for name, value in environ.items() if not _is_volatile(name))
    first = hashlib.sha256("\0".join(variables).encode(errors="surrogateescape")).digest()
    return hash_files(sorted({*source_files(cwd), *_beside(project, cwd, environ)}), first=first)


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
