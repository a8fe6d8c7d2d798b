"""With how many workers does the pool begin, and may it find its size by itself?

Whoever says a number, or how large a worker is, has decided. Otherwise the first worker is measured while it serves,
and what was measured is where the next start of the same application begins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.boot.release import known_release
from launcher.budget import Budget, Demand, Measured, Supply, plan_workers
from launcher.budget.regions import usable_bytes
from launcher.discovery import App
from launcher.errors import NoWorkerFits, UsageError
from launcher.growth import Growth
from launcher.own_source import source_files
from launcher.remembered import NAME, recall
from launcher.settings.topics import PoolSettings, Settings
from launcher.state import state_dir

_MOST_FILES = (
    4000  # of an application's source, looked at in some 10 ms; of more it is not known whether it is the same
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the sum is made from. server: its name and its kind of workers."""

    settings: Settings
    demand: Demand
    supply: Supply
    app: App | None
    server: str


def may_measure(system: str = sys.platform, proc: Path = Path("/proc/self/statm")) -> bool:
    """Tell whether it can be seen here how large a process is."""
    return system == "linux" and proc.exists()


def sized(asked: Asked, guess: Budget, can_measure: Callable[[], bool] = may_measure) -> tuple[Budget, Growth | None]:
    """Return the sum that holds, and how the pool may grow; None: `guess` is what there is."""
    most = _most_workers(asked) if is_free(asked.settings.pool) and can_measure() else None
    if most is None:
        return guess, None
    growth, measured = _remembering(asked, _growth(asked, guess, most))
    if measured and (known := _known(asked, measured)):
        return known, dataclasses.replace(growth, is_pilot=False, measured=measured)
    if most == 1:
        return guess, growth
    because = (
        f"to begin with, measured while it serves, then as many as fit, at most {most}; by a guess {guess.because}"
    )
    return dataclasses.replace(guess, workers=1, because=because), growth


def sized_before(asked: Asked, can_measure: Callable[[], bool] = may_measure) -> tuple[Budget, Growth] | None:
    """Return the same where no worker of a guessed size fits; None: none was measured, or that does not fit either."""
    most = _most_workers(asked) if is_free(asked.settings.pool) and can_measure() else None
    if most is None:
        return None
    growth, measured = _remembering(asked, _growth(asked, None, most))
    known = _known(asked, measured) if measured else None
    return (known, dataclasses.replace(growth, is_pilot=False, measured=measured)) if known else None


def _growth(asked: Asked, guess: Budget | None, most: int) -> Growth:
    return Growth(
        most_workers=most,
        guessed_workers=guess.workers if guess else 1,
        usable_bytes=usable_bytes(asked.demand, asked.supply),
        memory=asked.demand.memory,
        memory_origin=asked.demand.memory_origin,
        limit_bytes=asked.supply.memory_bytes,
        limit_source=asked.supply.memory_source,
        is_limited=asked.supply.memory_is_limited,
        is_pilot=most > 1,
        preload=asked.demand.preload,
    )


def _remembering(asked: Asked, growth: Growth) -> tuple[Growth, Measured | None]:
    """Return it with the place for what is measured, and what an earlier start has left there."""
    if (remembering := _where(asked)) is None:
        return growth, None
    path, key = remembering
    return dataclasses.replace(growth, remember=str(path), key=key), recall(path, key)


def is_free(pool: PoolSettings) -> bool:
    """Tell whether nobody has said how many, or how large."""
    return not (pool.workers or pool.worker_memory_estimate or pool.reload or pool.plain)


def _most_workers(asked: Asked) -> int | None:
    """Return how many there would be if memory were no matter; None: the cluster replicates, and says no limit."""
    supply = asked.supply
    demand = dataclasses.replace(asked.demand, worker_estimate_bytes=1, allow_overcommit=True, measured=None)
    most = plan_workers(demand, supply).workers
    unlimited = not (supply.memory_is_limited or supply.cpus_are_limited)
    return None if most == 1 and unlimited and supply.platform == "kubernetes" else most


def _known(asked: Asked, measured: Measured) -> Budget | None:
    """Return the sum with what was measured. Not even one fits: it must have been another limit, so begin anew."""
    with contextlib.suppress(NoWorkerFits):
        return plan_workers(dataclasses.replace(asked.demand, measured=measured), asked.supply)
    return None


def _where(asked: Asked) -> tuple[Path, str] | None:
    """Return the file, and under which key; None: nothing is remembered."""
    settings = asked.settings
    if not settings.remembers or asked.app is None or (release := _release(settings)) is None:
        return None
    python = f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))} {os.uname().machine}"
    preload = "preload" if asked.demand.preload else "no preload"
    factory = "()" if asked.app.factory else ""
    key = " | ".join((f"{asked.app.import_string}{factory}", release, python, asked.server, preload))
    try:
        folder = state_dir(settings.cwd)
        return (folder / NAME, key) if folder.is_dir() else None  # it is not made for a hint
    except (OSError, UsageError):  # another user's: whoever needs it for more than a hint says so
        return None


def _release(settings: Settings) -> str | None:
    """Return what tells releases apart; None where nothing does.

    Without an id the source, by names, sizes and times: its bytes may be gigabytes, and this is only a hint.
    """
    with contextlib.suppress(UsageError):
        if known := known_release(settings.prestart.release, settings.environ):
            return known.value
    files = list(itertools.islice(source_files(settings.cwd), _MOST_FILES + 1))
    if len(files) > _MOST_FILES:
        return None
    digest = hashlib.sha256()
    for name, path in sorted(files):
        with contextlib.suppress(OSError):
            status = path.stat()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return f"source-{digest.hexdigest()[:32]}"
