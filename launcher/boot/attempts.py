"""How often may the fleet try a step that fails?

A broken migration in a crash loop of N replicas is N times the damage (evidence/locks.md §4, "Failure"). The attempts
of all replicas are counted in the ledger, by its clock: the first few follow each other with growing pauses; after them
one is let through now and then, so that what was mended outside heals by itself and no row has to be removed.
"""

from __future__ import annotations

import datetime as dt
import random
import time

from launcher.errors import StepFailed
from launcher.locks import Record
from launcher.plan import PlannedStep
from launcher.units import human_seconds

GONE = "its holder was gone before it ended"  # what a successor writes; may be the step's doing: it took all memory
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 10.0  # between the first attempts: 1, 2, 4, ... seconds
_COOL_DOWN_S, _LONGEST_COOL_DOWN_S = 30.0, 300.0  # after them; Kubernetes' own back-off ends at 5 minutes too


def pause_s(planned: PlannedStep, record: Record | None) -> float:
    """Return how long to wait before the next attempt, in seconds; 0 when it may begin.

    Raises StepFailed, with the recorded failure, when the fleet has tried often enough for now.
    """
    if record is None or record.state != "failed":
        return 0.0
    if record.exit_code is None and record.tail != GONE:
        return 0.0  # it did not fail: its launcher was stopped in good order
    age_s, allowed = _age_s(record), planned.settings.attempts
    if record.attempt < allowed:
        if record.tail == GONE:
            return 0.0  # the takeover was pause enough
        pause = min(_PAUSE_S * 2.0 ** (record.attempt - 1), _LONGEST_PAUSE_S)
        return 0.0 if age_s >= pause else pause - age_s + random.uniform(0.0, 0.5)  # noqa: S311 - jitter
    cool_down = min(_COOL_DOWN_S * 2.0 ** min(record.attempt - allowed, 10), _LONGEST_COOL_DOWN_S)
    if age_s >= cool_down:
        return 0.0
    raise StepFailed(
        f"pre-start step {planned.name!r} has failed {record.attempt} times in all replicas, last"
        f" {_how(record)} on {record.owner.host} pid {record.owner.pid} at {record.finished_at};"
        f" the next attempt may be made in {human_seconds(round(cool_down - age_s, 1))}",
        cure="mend it; another release is tried at once",
        detail=record.tail,
    )


def _how(record: Record) -> str:
    return "killed together with its launcher" if record.tail == GONE else f"with exit code {record.exit_code}"


def _age_s(record: Record) -> float:
    """Return how long ago it ended: by the ledger's clock, by this host's only where the ledger does not tell."""
    if record.age_s is not None:
        return record.age_s
    try:
        ended = dt.datetime.fromisoformat(record.finished_at or record.started_at)
    except ValueError:
        return 0.0
    return max(0.0, time.time() - ended.timestamp())
