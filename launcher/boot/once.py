"""Who runs the steps, and who skips?

Mutual exclusion and a record: what is due is asked before the lock (with nothing to do there is no lock at all), and
asked again under it, since another process may have done the work while this one waited.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from launcher.boot.context import Context
from launcher.boot.release import content_key
from launcher.boot.watch import Watch
from launcher.errors import LockNotObtained, UsageError
from launcher.locks import Held, Ledger, Lock
from launcher.log import log
from launcher.plan import PlannedStep
from launcher.steps import Due
from launcher.units import human_seconds

POLL_S = (0.02, 0.12)  # jittered, so that twenty waiters do not ask in step
LOOK_S = (0.5, 1.0)  # between two looks at whether somebody else has done it: a query, or env.py's start
SAY_EVERY_S = 10.0  # evidence/locks.md §4: holder and age every 10 to 30 s
_TRY_S = 30.0  # a try returns at once; a network file system may not


def key_of(planned: PlannedStep, context: Context) -> str:
    """Return for what a step counts as done, with the database it was done for where that is known.

    Never empty: all releases would share one record.
    """
    key = _policy_key(planned, context)
    return f"{key} in {context.database}" if context.database and key != "start" else key


def _policy_key(planned: PlannedStep, context: Context) -> str:
    match planned.once_per:
        case "release":
            return context.release
        case "content":
            if not planned.settings.files:
                raise UsageError(
                    f'step {planned.name!r}: once_per = "content" needs files = [...] ({planned.settings.origin})',
                    cure='name what it depends on: files = ["seeds/**"]',
                )
            return content_key(planned.settings.files, context.cwd, repr(planned.settings.value))
        case "database":
            return "ever"
        case _:
            return "start"


def own_answer(planned: PlannedStep, context: Context) -> Due:
    """Return what a step knows by itself. None at each start: it could know and could not find out, so it is run."""
    own = planned.step.due(context)
    context.database = getattr(planned.step, "database", None) or context.database
    always = planned.once_per in {"start", "replica"} and not planned.step.tells_due
    return Due(due=True, because=own.because) if own.due is None and always else own


def due(planned: PlannedStep, context: Context, ledger: Ledger) -> Due:
    """Tell whether a step is to be run: by its own knowledge, else by its record."""
    own = own_answer(planned, context)
    if own.due is not None or planned.once_per in {"start", "replica"}:
        return own
    key = key_of(planned, context)
    record = ledger.read(planned.record_name, key)
    if record is None or record.state != "done":
        state = f"{record.state} since {record.started_at}" if record else "not done"
        return Due(due=True, because=f"{state} for {planned.once_per} {key}")
    who = f"{record.owner.host} pid {record.owner.pid}"
    return Due(due=False, because=f"done for {planned.once_per} {key} by {who} at {record.finished_at}")


def acquire(lock: Lock, watch: Watch, timeout_s: float) -> Held:
    """Wait for the lock, saying for whom. Raises LockNotObtained at the deadline, Interrupted, UsageError."""
    started = time.monotonic()
    said_at = -SAY_EVERY_S
    while True:
        held, trouble = _try(lock, watch, min(_TRY_S, max(1.0, started + timeout_s - time.monotonic())))
        waited = time.monotonic() - started
        if held is not None:
            log.info("launcher.lock_acquired", lock=lock.where, kind=lock.kind, waited_s=round(waited, 3))
            return held
        if waited >= timeout_s:
            raise LockNotObtained(
                f"the lock {lock.where} was not free within {human_seconds(timeout_s)}: {trouble or _holder(lock)}",
                cure="a longer --lock-timeout, or a look at what the holder is doing",
            )
        if waited - said_at >= SAY_EVERY_S:
            said_at = waited
            log.info("launcher.lock_busy", lock=lock.where, holder=trouble or _holder(lock), waited_s=round(waited, 1))
        watch.pause(min(random.uniform(*POLL_S), max(0.0, timeout_s - waited)))  # noqa: S311 - jitter


def _try(lock: Lock, watch: Watch, timeout_s: float) -> tuple[Held | None, str]:
    """Return the lock if it could be had, and what kept us from asking: an OSError is to be tried again."""
    try:
        return watch.off_thread(lock.try_acquire, timeout_s=timeout_s), ""
    except TimeoutError as error:
        raise LockNotObtained(f"the lock {lock.where} does not answer: {error}") from error
    except OSError as error:
        return None, f"{type(error).__name__}: {error}"


def wait_until_done(steps: Sequence[PlannedStep], context: Context, ledger: Ledger, timeout_s: float) -> None:
    """Wait until somebody else has done every step (`--prestart wait`).

    Raises LockNotObtained at the deadline, UsageError for a step that is never done.
    """
    _check_can_be_waited_for(steps)
    deadline = time.monotonic() + timeout_s
    said_at = -SAY_EVERY_S
    while pending := _pending(steps, context, ledger):
        if time.monotonic() >= deadline:
            raise LockNotObtained(
                f"nobody has done the pre-start steps within {human_seconds(timeout_s)}: {pending}",
                cure="run `launcher prestart` somewhere that may, or --prestart run",
            )
        if time.monotonic() - said_at >= SAY_EVERY_S:
            said_at = time.monotonic()
            log.info("launcher.steps_awaited", pending=pending)
        context.watch.pause(random.uniform(*LOOK_S))  # noqa: S311 - jitter


def _pending(steps: Sequence[PlannedStep], context: Context, ledger: Ledger) -> str:
    """Return what is not done, with the reasons; empty when everything is."""
    answers = [(planned.name, due(planned, context, ledger)) for planned in steps]
    return "; ".join(f"{name}: {answer.because}" for name, answer in answers if answer.due is not False)


def _check_can_be_waited_for(steps: Sequence[PlannedStep]) -> None:
    """Refuse what runs at each start and leaves no sign of having been done."""
    for planned in steps:
        if planned.once_per == "start" and not planned.step.tells_due:
            raise UsageError(
                f"--prestart wait: step {planned.name!r} runs at each start, so nobody can be waited for"
                f" ({planned.settings.origin})",
                cure='give it once_per = "release", or leave it out where steps are only waited for',
            )


def _holder(lock: Lock) -> str:
    """Return who has it, in words."""
    holder = lock.holder()
    if holder is None:
        return "the holder is not known"
    release = f", release {holder.owner.release}" if holder.owner.release else ""
    age = human_seconds(round(holder.age_s, 1))
    return f"held by {holder.owner.host} pid {holder.owner.pid}{release}, step {holder.step!r}, for {age}"
