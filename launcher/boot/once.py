"""Who runs the steps, and who waits?

One contender gets the lock. The others wait, saying for whom, and look at what has become of the work whenever the
records change: most of them leave without ever having had the lock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from launcher.boot.context import Context
from launcher.boot.due import all_due
from launcher.boot.lock_side import SAY_EVERY_S, LockSide
from launcher.errors import LockNotObtained, UsageError
from launcher.locks import Held, Holder, Ledger
from launcher.log import log
from launcher.plan import PlannedStep
from launcher.units import human_seconds

LOOK_S = (0.5, 1.0)  # between two looks at whether somebody else has done it: a query, or env.py's start


def acquire(side: LockSide, still_due: Callable[[], bool], timeout_s: float) -> Held | None:
    """Wait for the lock, saying for whom; return None when `still_due` finds that nothing is left to do.

    Raises LockNotObtained at the deadline, DependencyDown when the lock stays out of reach, Interrupted, UsageError.
    """
    started = reached = time.monotonic()
    said_at = -SAY_EVERY_S
    mark: object = None
    while True:
        tried = side.try_acquire()
        now = time.monotonic()
        if isinstance(tried, OSError):
            side.give_up(tried, now - reached, now - started)
        else:
            reached = now
            if tried[0] is not None:
                log.info(
                    "launcher.lock_acquired",
                    lock=side.lock.where,
                    kind=side.lock.kind,
                    waited_s=round(now - started, 3),
                )
                return tried[0]
            before, mark = mark, side.lock.mark()
            if mark != before and before is not None and not still_due():
                return None
        said_at = _say(side, tried, now - started, said_at, timeout_s)
        left_s = max(0.0, started + timeout_s - time.monotonic())
        side.watch.pause(min(random.uniform(*side.lock.poll_s), left_s))  # noqa: S311 - jitter


def _say(side: LockSide, tried: object, waited_s: float, said_at: float, timeout_s: float) -> float:
    """Say whom we wait for every ten seconds; return when it was said last. Raises LockNotObtained at the deadline."""
    over = waited_s >= timeout_s
    if not over and waited_s - said_at < SAY_EVERY_S:
        return said_at
    whom, since = (f"out of reach: {tried}", "") if isinstance(tried, OSError) else _holder(side)
    if over:
        raise LockNotObtained(
            f"the lock {side.lock.where} was not free within {human_seconds(side.timeout_s)}: {whom}{since}",
            cure=f"a longer --lock-timeout, or a look at what the holder is doing: {side.lock.look}",
        )
    # The monitor says how long we have waited: the holder's time, read once and beside it, would be taken for that.
    waiting_for = f"the lock {side.lock.where} ({whom})"
    side.watch.doing(f"waiting for the lock {side.lock.where}: {whom}{since}", waiting_for=waiting_for)
    facts = {"holder": whom + since, "waited_s": round(waited_s, 1), "look": side.lock.look}
    log.info("launcher.lock_busy", lock=side.lock.where, **facts)
    return waited_s


def wait_until_done(
    steps: Sequence[PlannedStep], context: Context, ledger: Callable[[], Ledger], timeout_s: float
) -> None:
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
            context.watch.doing(f"waiting for somebody to do {pending}", waiting_for=f"somebody to do {pending}")
            log.info("launcher.steps_awaited", pending=pending)
        context.watch.pause(random.uniform(*LOOK_S))  # noqa: S311 - jitter
    for planned in steps:
        log.info("launcher.step_skipped", step=planned.name, because="somebody else has done it")


def _pending(steps: Sequence[PlannedStep], context: Context, ledger: Callable[[], Ledger]) -> str:
    """Return what is not done, with the reasons; empty when everything is."""
    answers = all_due(steps, context, ledger)
    return "; ".join(f"{planned.name}: {answer.because}" for planned, answer in answers if answer.due is not False)


def _check_can_be_waited_for(steps: Sequence[PlannedStep]) -> None:
    """Refuse what runs at each start and leaves no sign of having been done."""
    for planned in steps:
        if planned.once_per == "start" and not planned.step.tells_due:
            raise UsageError(
                f"--prestart wait: step {planned.name!r} runs at each start, so nobody can be waited for"
                f" ({planned.settings.origin})",
                cure='give it once_per = "release", or leave it out where steps are only waited for',
            )


def _holder(side: LockSide) -> tuple[str, str]:
    """Return who has it, and since when, in words; what cannot be asked now is said in the same place."""
    answer = side.once(side.lock.holder)
    if isinstance(answer, OSError):
        return f"the holder cannot be asked: {answer}", ""
    return _told(answer[0])


def told(holder: Holder | None) -> str:
    """Return who has a lock, and since when, in words."""
    return "".join(_told(holder))


def _told(holder: Holder | None) -> tuple[str, str]:
    if holder is None:
        return "the holder is not known", ""
    release = f", release {holder.owner.release}" if holder.owner.release else ""
    step = f", step {holder.step!r}" if holder.step else ""
    age = human_seconds(round(holder.age_s, 1))
    return f"held by {holder.owner.host} pid {holder.owner.pid}{release}{step}", f", for {age}"
