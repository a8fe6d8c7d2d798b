"""Who has the lock, and what has been recorded beside it?

For `launcher lock`: reads, takes nothing, writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.boot.context import Context
from launcher.boot.decide import app_or_none, plan_steps
from launcher.boot.lock_choice import choose_lock
from launcher.boot.lock_side import LockSide
from launcher.boot.watch import Watch
from launcher.locks import Holder, Record
from launcher.plan import PlannedLock
from launcher.settings.topics import Settings

_PATIENCE_S = 3.0  # a person waits for the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LockView:
    """The lock that a start would use, its holder (None: nobody is known), and its records, oldest first."""

    chosen: PlannedLock
    holder: Holder | None
    records: list[Record]
    warning: str | None


def view(settings: Settings, watch: Watch) -> LockView:
    """Return what the lock's side says. Raises LauncherError when there is no lock or it cannot be asked."""
    app = app_or_none(settings)
    context = Context(watch, settings, app.import_dir if app else None, only_looks=True)
    chosen = choose_lock(settings, plan_steps(settings), context, patience_s=_PATIENCE_S)
    side = LockSide(chosen, watch, _PATIENCE_S)
    try:
        records = side.ledger.records()
        holder = side.answer(lambda: side.lock.holder())  # noqa: PLW0108 - another lock after a try that hangs
        return LockView(chosen=chosen, holder=holder, records=records, warning=side.lock.warning)
    finally:
        side.lock.close()
