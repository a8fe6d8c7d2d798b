"""What is still to be done, and for what does it count as done?

A step that knows itself is asked; else its record decides, by the key that its `once_per` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from launcher.boot.context import Context
from launcher.boot.release import content_key
from launcher.errors import UsageError
from launcher.locks import Ledger
from launcher.plan import PlannedStep
from launcher.steps import Due


def key_of(planned: PlannedStep, context: Context) -> str:
    """Return for what a step counts as done, with the database that it was done for where the records do not tell.

    Never empty: all releases would share one record. Records inside the very database are not told apart by its name:
    replicas may know its host under different ones (evidence/locks.md §5, rule 18).
    """
    key = _policy_key(planned, context)
    told = _at_each_start(planned) or context.database is None or _is_beside(context.database, context)
    return key if told else f"{key} in {context.database}"


def has_the_records(context: Context) -> bool:
    """Tell whether the records are a table of the database that is migrated: a new database has none from before."""
    database = context.database
    return database is not None and not database.startswith("sqlite:") and _is_beside(database, context)


def _is_beside(database: str, context: Context) -> bool:
    """Tell whether the lock and its records are that database's."""
    return context.side is not None and context.side.planned.database == database


def _at_each_start(planned: PlannedStep) -> bool:
    return planned.once_per in {"start", "replica"}


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
            return _start_key(context)


def _start_key(context: Context) -> str:
    """Return the key of what runs at each start: no start is skipped by it, but the attempts of one release are."""
    try:
        return f"start of {context.release}"
    except UsageError:  # a source too large to hash: then the attempts of all releases are counted together
        return "start"


def own_answer(planned: PlannedStep, context: Context) -> Due:
    """Return what a step knows by itself. None at each start: it could know and could not find out, so it is run."""
    own = planned.step.due(context)
    context.database = getattr(planned.step, "database", None) or context.database
    always = _at_each_start(planned) and not planned.step.tells_due
    return Due(due=True, because=own.because) if own.due is None and always else own


def due(planned: PlannedStep, context: Context, ledger: Callable[[], Ledger]) -> Due:
    """Tell whether a step is to be run: by its own knowledge, else by its record."""
    return or_recorded(own_answer(planned, context), planned, context, ledger)


def all_due(
    steps: Sequence[PlannedStep], context: Context, ledger: Callable[[], Ledger]
) -> list[tuple[PlannedStep, Due]]:
    """Tell it of each step. All are asked before any record is read: its key may depend on the migrations' database."""
    own = [(planned, own_answer(planned, context)) for planned in steps]
    return [(planned, or_recorded(answer, planned, context, ledger)) for planned, answer in own]


def or_recorded(own: Due, planned: PlannedStep, context: Context, ledger: Callable[[], Ledger]) -> Due:
    """Return what a step knows itself (`own`), or what its record says."""
    if own.due is not None or _at_each_start(planned):
        return own
    records = ledger()  # first: the key depends on where they are
    key = key_of(planned, context)
    record = records.read(planned.record_name, key)
    if record is None or record.state != "done":
        state = f"{record.state} since {record.started_at}" if record else "not done"
        return Due(due=True, because=f"{state} for {planned.once_per} {key}")
    who = f"{record.owner.host} pid {record.owner.pid}"
    return Due(due=False, because=f"done for {planned.once_per} {key} by {who} at {record.finished_at}")
