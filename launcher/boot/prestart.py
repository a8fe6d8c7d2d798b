"""What is to be done before the server starts?

The steps in their order: those that only one process may run under the lock, the others in every replica. A step that
failed, was refused or was ended is never followed by the server.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launcher.boot.attempts import pause_s
from launcher.boot.context import Context
from launcher.boot.due import all_due, due, has_the_records, key_of
from launcher.boot.guarded import Run
from launcher.boot.lock_side import LockSide, patience_s
from launcher.boot.once import acquire, wait_until_done
from launcher.boot.step_environ import step_environ
from launcher.boot.step_failure import failure
from launcher.boot.takeover import take_over
from launcher.errors import ExitCode, LauncherError, LockLost, StepRefused
from launcher.locks import Held, Ledger, Lock, Record, State
from launcher.log import log
from launcher.masking import masked
from launcher.plan import PlannedLock, PlannedStep
from launcher.settings.topics import PrestartSettings
from launcher.steps import Command, Due, Finished
from launcher.units import human_seconds

_RELEASE_S = 10.0  # a lock that does not answer when it is given back is lost with our connection to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Prestart:
    """The pre-start steps of one start."""

    steps: Sequence[PlannedStep]
    settings: PrestartSettings
    context: Context
    # Called only when something has to be known of the lock; with True before a script that may export the database.
    choose: Callable[[bool], PlannedLock]

    def carry_out(self) -> None:
        """Do what the mode asks for. Raises LauncherError when the server must not start."""
        if self.settings.mode == "off":
            log.info("launcher.steps_skipped", because="--prestart off", steps=[s.name for s in self.steps])
            return
        try:
            for (locked, exports), group in itertools.groupby(self.steps, key=_kind_of_group):
                self._group(list(group), locked=locked)
                if exports:
                    self._let_go()  # what comes now may be another database's, and so under another lock
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self.context.side is not None:
            self.context.side.lock.close()
            self.context.side = None

    def _side(self) -> LockSide:
        """Return the lock, chosen now if it was not yet: with nothing to do there is none."""
        if self.context.side is None:
            before_exports = any(_kind_of_group(planned)[1] for planned in self.steps) and not self.context.exported
            chosen = self.choose(before_exports)
            self.context.side = LockSide(chosen, self.context.watch, self.settings.lock_timeout)
            if any(planned.under_lock and planned.once_per == "release" for planned in self.steps):
                # Their records are found by it, so it is needed in any case.
                self.context.side.own_as(self.context.told_release)
        return self.context.side

    def _ledger(self) -> Ledger:
        return self._side().ledger

    def _group(self, steps: list[PlannedStep], *, locked: bool) -> None:
        if not locked:
            for planned in steps:
                self._unlocked(planned)
        elif self.settings.mode == "wait":
            wait_until_done(steps, self.context, self._ledger, self.settings.lock_timeout)
        elif pending := self._due(steps):
            if self.settings.mode == "check":
                raise StepRefused(f"not done, and --prestart check: {_reasons(pending)}")
            self._ask(pending)
            self._once(steps)

    def _due(self, steps: Sequence[PlannedStep]) -> list[tuple[PlannedStep, Due]]:
        """Return what has something to do; say what has not. This needs no lock."""
        answers = all_due(steps, self.context, self._ledger)
        for planned, answer in answers:
            if answer.due is False:
                log.info("launcher.step_skipped", step=planned.name, because=answer.because)
            else:
                log.info("launcher.step_found_due", step=planned.name, because=answer.because)
        return [(planned, answer) for planned, answer in answers if answer.due is not False]

    def _still_due(self, steps: Sequence[PlannedStep]) -> bool:
        """Tell whether anything is left to do; if not, say so of each step.

        Raises StepFailed when the fleet has failed at it often enough.
        """
        answers = all_due(steps, self.context, self._ledger)
        for planned, answer in answers:
            if answer.due is not False:
                self._pause_s(planned)
                return True
        for planned, answer in answers:
            log.info("launcher.step_skipped", step=planned.name, because=answer.because)
        return False

    def _once(self, steps: Sequence[PlannedStep]) -> None:
        """Run what is still due under the lock, or find that somebody else has done it."""
        side, deadline = self._side(), time.monotonic() + self.settings.lock_timeout
        side.own_as(self.context.told_release)  # hashed here at the latest: with nothing to do it is not
        if side.lock.hosts == "this host":
            self._say_local(side.lock, steps)
        pause_s: float | None = 0.0
        while pause_s is not None:
            self.context.watch.pause(pause_s)
            left_s = max(0.0, deadline - time.monotonic())
            held = acquire(side, lambda: self._still_due(steps), left_s)
            if held is None:
                return
            if side.lock.hosts == "every host" and side.lock.warning:
                log.warning("launcher.lock_doubtful", lock=side.lock.where, because=side.lock.warning)
            pause_s = self._holding(side, held, steps)

    def _holding(self, side: LockSide, held: Held, steps: Sequence[PlannedStep]) -> float | None:
        """Run what is due; return how long to let others try before the next attempt, None when all is done."""
        side.held = self.context.held = held
        try:
            pause_s = self._all(side, held, steps)
        except LockLost:
            raise  # there is nothing to be given back, and nobody to be asked
        except BaseException:
            with contextlib.suppress(LauncherError):  # the first error is the one to be told
                self._release(side, held)
            raise
        self._release(side, held)
        return pause_s

    def _all(self, side: LockSide, held: Held, steps: Sequence[PlannedStep]) -> float | None:
        taken_over = False
        done: list[PlannedStep] = []
        for planned in steps:
            answer = due(planned, self.context, self._ledger)
            if answer.due is not False and not taken_over:
                take_over(side, held, self.settings.lock_timeout)
                taken_over = True
                answer = due(planned, self.context, self._ledger)
            if answer.due is False:
                log.info("launcher.step_skipped", step=planned.name, because=answer.because)
                continue
            if pause_s := self._pause_s(planned):
                log.info("launcher.attempt_put_off", step=planned.name, seconds=round(pause_s, 1))
                return pause_s
            self._under_lock(planned, answer, side, held, done)
            done.append(planned)
        return None

    def _pause_s(self, planned: PlannedStep) -> float:
        ledger = self._ledger()
        return pause_s(planned, ledger.read(planned.record_name, key_of(planned, self.context)))

    def _say_local(self, lock: Lock, steps: Sequence[PlannedStep]) -> None:
        """Say how far the lock reaches: a warning unless all that is worked on is known to be a database beside it."""
        because = lock.warning or "it reaches who shares this file: no other host, no container with files of its own"
        beside = lock.kind == "sqlite" or any(getattr(planned.step, "is_local", None) for planned in steps)
        enough = beside and not lock.warning
        say = log.info if enough else log.warning
        say("launcher.lock_is_local", lock=lock.where, because=because)

    def _release(self, side: LockSide, held: Held) -> None:
        """Give the lock back, off the main thread: a server may be slow to answer. Raises LockLost."""
        try:
            side.owned(held.release, _RELEASE_S)
            log.info("launcher.lock_released", lock=side.lock.where)
        finally:
            side.held = self.context.held = side.seen = None

    def _under_lock(
        self, planned: PlannedStep, answer: Due, side: LockSide, held: Held, done: Sequence[PlannedStep]
    ) -> None:
        if answer.fresh and not has_the_records(self.context):
            self._forget(side.ledger, but=[planned, *done])
        command = planned.step.command(self.context)
        side.owned(lambda: held.say_step(planned.name), _RELEASE_S)
        record = side.ledger.begin(planned.record_name, key_of(planned, self.context))
        try:
            result = self._execute(planned, command, held=held, record=record)
        except LockLost:
            raise  # whatever is recorded now, it is not ours to record
        except LauncherError as error:
            _record(side.ledger, record, None, str(error))
            raise
        # evidence/locks.md §4: `done` only after a fresh look at the ownership
        side.owned(held.confirm, patience_s(held))
        _record(side.ledger, record, result, result.tail)
        self._succeed(planned, command, result, doubt="" if answer.due else answer.because)

    def _forget(self, ledger: Ledger, *, but: Sequence[PlannedStep]) -> None:
        """Let what was recorded for a database that is gone be due again, before the new one looks finished."""
        for planned in self.steps:
            if planned in but or planned.once_per in {"start", "replica"}:
                continue
            key = key_of(planned, self.context)
            known = ledger.read(planned.record_name, key)
            if known is not None and known.state == "done":
                log.info("launcher.record_forgotten", step=planned.name, because="the database is new")
                _record(ledger, ledger.begin(planned.record_name, key), None, "the database is new")

    def _unlocked(self, planned: PlannedStep) -> None:
        answer = planned.step.due(self.context)
        if answer.due is False:
            log.info("launcher.step_skipped", step=planned.name, because=answer.because)
            return
        command = planned.step.command(self.context)
        self._succeed(planned, command, self._execute(planned, command, held=None, record=None))

    def _execute(self, planned: PlannedStep, command: Command, *, held: Held | None, record: Record | None) -> Finished:
        """Run one step's command under its guard, its output line by line into the log."""
        log.info("launcher.step_started", step=planned.name, where=planned.step.where(), **_facts(record))
        run = Run(
            watch=self.context.watch,
            cwd=self.context.cwd,
            environ=step_environ(planned, self.context.environ, held, record),
            timeout_s=planned.settings.timeout_s,
            on_line=lambda stream, line: _say(planned.name, stream, line),
            held=held,
        )
        started = time.monotonic()
        limit = human_seconds(planned.settings.timeout_s)
        self.context.watch.doing(f"step {planned.name}, for up to {limit}", step=planned.name)
        try:
            result = run.execute(command)
        except LauncherError as error:
            seconds = round(time.monotonic() - started, 3)
            log.warning("launcher.step_ended", step=planned.name, because=error.message, seconds=seconds)
            raise
        if command.must_report and result.ok and not result.report:
            tail = f"{result.tail}\nit ended without saying what it has done"
            result = dataclasses.replace(result, status=ExitCode.BUG, tail=tail)
        if result.leftovers:
            log.warning("launcher.step_leftovers_killed", step=planned.name, processes=list(result.leftovers))
        return result

    def _succeed(self, planned: PlannedStep, command: Command, result: Finished, doubt: str = "") -> None:
        """Take over what the step exported, or raise what its end means; `doubt`: why it was not known to be due."""
        if not result.ok:
            raise failure(planned, command, result, doubt)
        self.context.export(planned.step.finished(self.context, result))
        log.info("launcher.step_done", step=planned.name, seconds=round(result.seconds, 3))

    def _ask(self, pending: Sequence[tuple[PlannedStep, Due]]) -> None:
        """Ask a person about what was found rather than configured, and about databases that are not local."""
        doubtful = [(planned, answer) for planned, answer in pending if _is_doubtful(planned)]
        if not doubtful or self.settings.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return
        sys.stderr.write(f"{_reasons(doubtful)}\nRun {', '.join(p.name for p, _ in doubtful)} now? [y/N] ")
        sys.stderr.flush()
        while 0 not in self.context.watch.wait([0], deadline=None):
            pass
        if os.read(0, 100).strip().lower() not in {b"y", b"yes"}:
            raise StepRefused("not run: the answer was no", cure="--yes runs without a question, --prestart off skips")


def _kind_of_group(planned: PlannedStep) -> tuple[bool, bool]:
    """Return whether it runs under the lock, and whether it is a script that may export what the others work on."""
    return planned.under_lock, planned.settings.type == "pre-start-path"


def _record(ledger: Ledger, record: Record, result: Finished | None, tail: str) -> None:
    """Write how the step ended. Raises LockLost when somebody else has begun it meanwhile."""
    state: State = "done" if result is not None and result.ok else "failed"
    code = result.status if result is not None else None
    if not ledger.finish(record, state, exit_code=code, tail=masked(tail)) and state == "done":
        raise LockLost(f"step {record.step!r} was begun by somebody else meanwhile: its end was not recorded")


def _say(step: str, stream: str, line: str) -> None:
    log.info("launcher.step_output", step=step, stream=stream, line=masked(line))


def _is_doubtful(planned: PlannedStep) -> bool:
    return planned.settings.found or getattr(planned.step, "is_local", None) is False


def _reasons(pending: Sequence[tuple[PlannedStep, Due]]) -> str:
    return "; ".join(f"{planned.name} ({planned.step.where()}): {answer.because}" for planned, answer in pending)


def _facts(record: Record | None) -> dict[str, object]:
    return {"token": record.token, "attempt": record.attempt} if record is not None else {}
