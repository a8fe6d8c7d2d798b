"""What would the application take, and how many workers would that allow, without and with --preload?

Measured by the pool itself: programs that only import an application were off by 5 to 23 % (evidence: memory, A3). Each
way is a whole start in throw-away processes, in this control group and so under its limit, one after the other.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.boot.decide import demand_of
from launcher.boot.growth import is_free, may_measure
from launcher.boot.guarded import Run
from launcher.boot.preview import Preview
from launcher.boot.trials.judged import Terms, Trial, compared, judged
from launcher.boot.trials.order import Order, Outcome
from launcher.boot.watch import Watch
from launcher.budget import DEFAULT_WORKER_BYTES
from launcher.errors import NoWorkerFits, StepFailed
from launcher.instances.runtime_places import TEMPORARY
from launcher.limits.oom import OomCounts, read_oom
from launcher.limits.reading import read_limits, supply
from launcher.limits.room import Room, RoomReader
from launcher.origin import OriginKind
from launcher.settings.topics import Settings
from launcher.steps import Command
from launcher.units import human_bytes, human_seconds

_STARTUP_S = 120.0  # --startup-timeout's default (DESIGN §6)
_MORE_S = 60.0  # traffic, and the stop
_WORKERS = 2  # one after the other
_GRACE_S = 5.0
_SERVERS = ("gunicorn", "uvicorn")
_PARTS = ("server", "app")  # with a problem in one of these nothing can be started
_ROOMY = 2  # workers of a guessed size
_OURS_BYTES = 128 << 20  # what `launcher plan` itself and its shell may hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What was typed. given, server_args: as `launcher.settings.load.load` takes them; path: what to ask for."""

    given: Mapping[str, Any]
    server_args: Sequence[str]
    path: str


@dataclass(frozen=True, slots=True)
class Measuring:
    """What is tried, and by whom."""

    seen: Preview
    settings: Settings
    words: Words
    watch: Watch

    def outcome(self) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
        """Return what each way of serving allows, and what is to be warned of. Raises Interrupted only."""
        terms, little = self._terms(), little_room(RoomReader()())
        refusal = danger(little, read_oom())
        trials = compared(tuple(self._way(terms, refusal, preload=preload) for preload in (False, True)))
        unsafe = self.settings.pool.preload  # else it is what was asked, and no reason to worry
        bad = [trial for trial in trials if trial.failed or (unsafe and trial.is_safe is False)]
        failed = [f"{trial.name} could not be measured: {trial.note}" for trial in bad]
        deaf = [trial.name for trial in trials if trial.is_deaf]
        failed += [f"{name} answered nothing: what requests take is not known" for name in deaf]
        return trials, (*failed, *([little] if little else []))

    def _terms(self) -> Terms:
        return Terms(
            demand=demand_of(self.settings.pool),
            supply=supply(read_limits(environ=self.settings.environ)),
            free=is_free(self.settings.pool),
            refused=isinstance(self.seen.problem("workers"), NoWorkerFits),
            path=self.words.path,
        )

    def _way(self, terms: Terms, refusal: str, *, preload: bool) -> Trial:
        if because := refusal or _impossible(self.seen, self.settings, preload=preload):
            return Trial(preload=preload, note=because)
        try:
            order = self._order(preload=preload)
        except OSError as error:
            return Trial(preload=preload, note=f"no place for a socket: {error}", failed=True)
        return _tried(order, self.settings, terms, self.watch)

    def _order(self, *, preload: bool) -> Order:
        return Order(
            given=self.words.given,
            server_args=tuple(self.words.server_args),
            server=self.seen.plan.server.value,
            preload=preload,
            folder=_folder(),
            path=self.words.path,
        )


def little_room(room: Room | None) -> str:
    """Return what to say where others in this group leave little room; "" where there is enough."""
    if room is None or not room.is_limited:
        return ""
    free, held = room.free_bytes, room.usage.needed_bytes
    if free >= _ROOMY * DEFAULT_WORKER_BYTES or held <= _OURS_BYTES:
        return ""
    return (
        f"there was room for {human_bytes(max(0, free))} below {human_bytes(room.limit_bytes)} ({room.limit_source}): "
        f"others hold {human_bytes(held)}, of which the sum knows nothing"
    )


def danger(little: str, counts: OomCounts) -> str:
    """Return why nothing is tried at all: the others in this group would have to die for it. "" where they need not."""
    if not (little and counts.group):
        return ""
    return "not tried: others are in this group, and one kill for memory would take all of it (memory.oom.group)"


def _impossible(seen: Preview, settings: Settings, *, preload: bool) -> str:
    """Return why a way is not tried, "" when it is."""
    server = seen.plan.server.value
    known = next((problem for part in _PARTS if (problem := seen.problem(part)) is not None), None)
    reasons = {
        f"it cannot be started: {known.message if known else ''}": known is not None,
        "there is no application to try": seen.plan.app is None,
        "a process can only be measured on Linux": not may_measure(),
        f"{server} is not one of the servers that measure": server not in _SERVERS,
        "--reload is one process, for development": settings.pool.reload,
        "uvicorn cannot preload, --server gunicorn can": preload and server == "uvicorn",
        "gunicorn's own configuration preloads, and cannot be told not to": not preload
        and _preloads_by_itself(settings),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _preloads_by_itself(settings: Settings) -> bool:
    """Tell whether gunicorn.conf.py or GUNICORN_CMD_ARGS preloads: gunicorn has no word against it."""
    said = settings.origins.get("preload")
    return settings.pool.preload and said is not None and said.origin.kind == OriginKind.PLATFORM


def _tried(order: Order, settings: Settings, terms: Terms, watch: Watch) -> Trial:
    """Return what came of one trial. Raises Interrupted, when all of it has ended."""
    deadline_s = _WORKERS * (settings.pool.startup_timeout or _STARTUP_S) + _MORE_S
    argv = (sys.executable, "-P", "-m", "launcher.boot.trials.conduct")
    run = Run(watch=watch, cwd=settings.cwd, environ=os.environ, timeout_s=deadline_s, grace_s=_GRACE_S)
    try:
        finished = run.execute(Command(argv=argv, stdin=order.as_bytes(), reports=True))
    except StepFailed as error:
        return Trial(preload=order.preload, note=error.message, failed=True)
    finally:
        shutil.rmtree(order.folder, ignore_errors=True)  # it has done so itself, unless it was killed
    if finished.timed_out:
        return Trial(preload=order.preload, note=f"it was not measured within {human_seconds(deadline_s)}", failed=True)
    outcome = Outcome.from_bytes(finished.report) or Outcome(code=finished.status, why=finished.tail)
    return judged(outcome, terms, preload=order.preload)


def _folder() -> str:
    """Return a new private folder with a short name: a socket's path has 107 characters. Raises OSError."""
    writable = (parent for parent in TEMPORARY if os.access(parent, os.W_OK | os.X_OK))
    return tempfile.mkdtemp(prefix="launcher-trial-", dir=next(writable, None))
