"""What would a start do, without doing it?

For `launcher plan` and `launcher check`: the database is asked, nothing is written, and what cannot be decided is a
problem to be shown beside the rest.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.boot.context import Context
from launcher.boot.decide import decide
from launcher.boot.due import or_recorded, own_answer
from launcher.boot.lock_choice import choose_lock
from launcher.boot.lock_side import LockSide
from launcher.boot.sequence import bind, server_command
from launcher.boot.sockets import close_listeners
from launcher.boot.watch import Watch
from launcher.errors import DependencyDown, ExitCode, LauncherError, StepFailed
from launcher.locks import Ledger
from launcher.masking import masked
from launcher.plan import Plan, PlannedStep
from launcher.servers import Listener
from launcher.settings.topics import Settings
from launcher.steps import Command, Due

if TYPE_CHECKING:
    from launcher.boot.trials.judged import Trial

_PATIENCE_S = 3.0  # a person waits for the answer
_IMPORT_S = 120.0  # the startup deadline of a worker (DESIGN §6)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that would end a start: where it is, and the error `run` would end with."""

    part: str
    error: LauncherError


@dataclass(slots=True)
class Preview:
    """The plan, what each step would find, the command, the problems, and what was tried out, if anything was."""

    plan: Plan
    steps: list[tuple[PlannedStep, Due]] = field(default_factory=list)
    argv: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    trials: tuple[Trial, ...] | None = None
    doubts: tuple[str, ...] = ()  # about them

    def problem(self, part: str) -> LauncherError | None:
        """Return the first error of a part."""
        return next((problem.error for problem in self.problems if problem.part == part), None)

    def attempt(self, part: str, action: Callable[[], None]) -> None:
        """Do something; an error becomes a problem."""
        try:
            action()
        except LauncherError as error:
            self.problems.append(Problem(part, error))


def preview(settings: Settings, watch: Watch) -> Preview:
    """Return what would happen. Raises Interrupted only."""
    problems: list[Problem] = []
    plan = decide(settings, excuse=lambda part, error: problems.append(Problem(part, error)))
    seen = Preview(plan, problems=problems)
    context = Context(watch, settings, plan.app.import_dir if plan.app else None, only_looks=True)
    look = _Look(seen, settings, context)
    for planned in plan.steps:
        seen.attempt(f"step {planned.name}", functools.partial(look.ask, planned))
    for planned in plan.steps:
        seen.attempt(f"step {planned.name}", functools.partial(look.see, planned))
    seen.attempt("lock", look.choose)
    if plan.app and plan.budget:
        seen.attempt("server", lambda: _command(seen, settings))
    return seen


def probe(seen: Preview, settings: Settings, watch: Watch) -> None:
    """Try what a preview leaves out: import the application, take the address, reach lock and databases."""
    seen.attempt("address", lambda: close_listeners(bind(seen.plan, watch, settings.environ)))
    if seen.plan.lock is not None and seen.problem("lock") is None:
        side = LockSide(seen.plan.lock, watch, _PATIENCE_S)
        seen.attempt("lock", lambda: _reach(side))
    for planned, answer in seen.steps:
        if not _said_of_lock(seen, planned):
            seen.attempt(f"step {planned.name}", functools.partial(_can_tell, planned, answer))
    if seen.plan.app is not None:
        context = Context(watch, settings, seen.plan.app.import_dir)
        seen.attempt("app", lambda: _import_app(seen.plan, context))


class _NoRecordsError(Exception):
    """The records cannot be read; why, is a problem of the lock's, told once for all steps."""


class _Look:
    """One look at the steps and the lock that they would run under."""

    def __init__(self, seen: Preview, settings: Settings, context: Context) -> None:
        self.seen, self.settings, self.context = seen, settings, context
        self.answers: dict[str, Due] = {}

    def ask(self, planned: PlannedStep) -> None:
        """Ask a step what it knows itself. All before any record: its key may depend on the migrations' database."""
        self.answers[planned.name] = own_answer(planned, self.context)

    def see(self, planned: PlannedStep) -> None:
        """Note what a step would do."""
        if own := self.answers.get(planned.name):
            try:
                answer = or_recorded(own, planned, self.context, self.ledger)
            except _NoRecordsError:
                answer = Due(due=None, because="its record cannot be read: see what is said of the lock")
            self.seen.steps.append((planned, answer))

    def ledger(self) -> Ledger:
        """Return the records; the lock is chosen for it when it was not. Raises _NoRecordsError, which was said."""
        if self.context.side is None and self.seen.problem("lock") is None:
            self.seen.attempt("lock", self.reach)
        if self.context.side is None:
            raise _NoRecordsError
        return self.context.side.ledger

    def reach(self) -> None:
        """Choose the lock and look whether its records can be read. Raises LauncherError."""
        self.choose()
        if self.seen.plan.lock is not None:
            side = LockSide(self.seen.plan.lock, self.context.watch, _PATIENCE_S)
            side.ledger.records()
            self.context.side = side

    def choose(self) -> None:
        """Choose the lock, if one is needed and none was asked for. Raises LauncherError."""
        plan = self.seen.plan
        if plan.locked and plan.lock is None and self.seen.problem("lock") is None:
            chosen = choose_lock(self.settings, plan.steps, self.context, patience_s=_PATIENCE_S)
            self.seen.plan = dataclasses.replace(plan, lock=chosen, ignored=(*plan.ignored, *chosen.ignored))


def _command(seen: Preview, settings: Settings) -> None:
    listeners = tuple(Listener(address.value, -1) for address in seen.plan.addresses)
    seen.argv = server_command(seen.plan, settings, listeners, settings.environ).argv


def _said_of_lock(seen: Preview, planned: PlannedStep) -> bool:
    """Tell whether the step's database is the lock's, and the lock's error is that it does not answer."""
    lock = seen.plan.lock  # None: it would be in the database of a step, which has not answered
    same = lock is None or lock.database == getattr(planned.step, "database", None)
    return same and isinstance(seen.problem("lock"), DependencyDown)


def _can_tell(planned: PlannedStep, answer: Due) -> None:
    """Raise StepFailed for what knows its state and could not ask for it: a database out of reach, a broken env.py."""
    if answer.due is None and planned.step.tells_due:
        raise StepFailed(f"pre-start step {planned.name!r} ({planned.step.where()}): {answer.because}")


def _reach(side: LockSide) -> None:
    """Read the records and find the place; the lock itself is not taken."""
    try:
        side.ledger.records()
        side.answer(side.lock.holder)
    finally:
        side.lock.close()


def _import_app(plan: Plan, context: Context) -> None:
    app = plan.app
    if app is None:
        return
    argv = (sys.executable, "-P", "-m", "launcher.boot.import_app", str(app.import_dir), app.import_string)
    result = context.run(Command(argv=argv), timeout_s=_IMPORT_S)
    if not result.ok:
        error = LauncherError(f"the application {app.import_string} cannot be imported", detail=masked(result.tail))
        error.exit_code = ExitCode.NEVER_READY
        raise error
