"""What does each check ask?"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, Unpack

from launcher import HealthCheck
from launcher.databases import ask
from launcher.records import Group
from launcher.units import fraction, human_bytes, size_bytes
from launcher_health import over_http, over_redis

_ALEMBIC_S = 60.0  # it imports the models: a check of a deployment's state, not of its pulse
_MOST_WORDS = 300  # characters of what Alembic says


class NotWell(Exception):
    """What was asked is there, and not as it should be."""


class Options(TypedDict, total=False):
    """What each check may be given: as `launcher.HealthCheck`; `name` is the kind of the check otherwise."""

    name: str
    group: Group
    interval: float
    timeout: float


def database(url: str, **options: Unpack[Options]) -> HealthCheck:
    """Ask a database for `SELECT 1`, over a new connection, with the driver that the URL names or that is installed.

    url: as SQLAlchemy writes it, `postgresql+asyncpg://user:password@host/name`.
    """
    return _check("database", lambda timeout_s: ask(url, "SELECT 1", connect_timeout_s=timeout_s), options)


def redis(url: str, **options: Unpack[Options]) -> HealthCheck:
    """Say PING to a Redis server. Raises ValueError for what is no such URL.

    url: `redis://user:password@host:6379/0`, `rediss://` (TLS), `redis+unix:///path/to/socket`.
    """
    address = over_redis.parse(url)
    return _check("redis", lambda timeout_s: over_redis.ping(address, timeout_s), options)


def http(url: str, **options: Unpack[Options]) -> HealthCheck:
    """Ask for a page: 2xx and 3xx are well; redirects are not followed. Raises ValueError for what is no such URL."""
    address = over_http.parse(url)
    return _check("http-service", lambda timeout_s: over_http.get(address, timeout_s), options)


def tcp(host: str, port: int, **options: Unpack[Options]) -> HealthCheck:
    """Connect, and that is all."""
    return _check("tcp", lambda timeout_s: socket.create_connection((host, port), timeout_s).close(), options)


def disk(path: str | Path = ".", free: str | float = "5%", **options: Unpack[Options]) -> HealthCheck:
    """Ask for free space where `path` is: a size (`500M`, bytes) or a share (`5%`, 0.05). Raises ValueError."""
    least = _least(free)

    def look(_: float) -> None:
        usage = shutil.disk_usage(path)
        wanted = least * usage.total if isinstance(least, float) else least
        if usage.free < wanted:
            raise NotWell(f"{human_bytes(usage.free)} free, less than {human_bytes(int(wanted))}")

    return _check("disk", look, options)


def alembic_at_head(ini: str | Path = "alembic.ini", **options: Unpack[Options]) -> HealthCheck:
    """Compare the database with the migrations of this code, as `alembic current --check-heads` does.

    In a process of its own, as it imports the application's models; so it is asked once a minute only.
    """

    def look(timeout_s: float) -> None:
        argv = [sys.executable, "-m", "alembic", "-c", str(ini), "current", "--check-heads"]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotWell(f"Alembic has not answered within {timeout_s:g} s") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise NotWell(said[0][:_MOST_WORDS] if said else f"Alembic ended with {done.returncode}")

    defaults: Options = {"interval": _ALEMBIC_S, "timeout": _ALEMBIC_S / 2}
    return _check("alembic", look, {**defaults, **options})


def _check(kind: str, look: Callable[[float], object], options: Options) -> HealthCheck:
    """Return the check; `look` gets the seconds it has."""
    given: Options = {"name": kind, "timeout": 5.0, **options}
    return HealthCheck(probe=lambda: look(given["timeout"]), **given)


def _least(free: str | float) -> int | float:
    """Return a number of bytes, or a share (0.0 to 1.0)."""
    if isinstance(free, str):
        return fraction(free) if free.strip().endswith("%") else size_bytes(free)
    return float(free) if 0 < free < 1 else int(free)
