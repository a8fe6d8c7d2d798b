"""What does a trial allow?

Arithmetic and words: how many workers of the measured size fit, how many would be started, and what went wrong.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from launcher.boot.trials.asking import NO_ANSWER
from launcher.boot.trials.order import Outcome
from launcher.budget import FILES_BYTES, Budget, Demand, Measured, Region, Supply, plan_workers
from launcher.budget.regions import one_worker, regions_of, room_for, taken
from launcher.budget.words import sum_line
from launcher.errors import NoWorkerFits
from launcher.units import human_bytes

_NOT_SAFE = "what a fork breaks"  # launcher.serving.fork_safety
_NOT_HELD = ("headroom", "reload")
_WORTH_SAYING = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One way of serving, tried out. Sizes in bytes.

    note: what a person should know of it; where `measured` is None, why it is. failed: it was tried, and told nothing.
    is_safe: whether it may be preloaded; None: it was not found out, or is no question.
    fitting: how many fit in memory. workers, because: how many `launcher run` would start (0: it would refuse).
    answers: how often which status came.
    """

    preload: bool
    note: str
    failed: bool = False
    is_safe: bool | None = None
    measured: Measured | None = None
    regions: tuple[Region, ...] = ()
    fitting: int | None = None
    workers: int | None = None
    because: str = ""
    answers: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How it is called."""
        return "--preload" if self.preload else "without --preload"

    @property
    def is_settled(self) -> bool:
        """Whether it was measured after traffic, so that it may be compared."""
        return self.measured is not None and not self.measured.provisional

    @property
    def is_deaf(self) -> bool:
        """Whether it was asked and has answered nothing at all."""
        return bool(self.answers) and set(self.answers) == {NO_ANSWER}

    @property
    def sum(self) -> str:
        """The sum as one line, "" without one."""
        return sum_line(self.regions) if self.regions else ""

    @property
    def together_bytes(self) -> int | None:
        """What so many workers as would be started hold together, before they grow."""
        if self.measured is None or self.workers is None:
            return None
        once = sum(one.bytes for one in taken(self.regions) if one.name not in _NOT_HELD)
        return once + self.workers * self.measured.worker_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the sum is made from beside the measurement.

    free: nobody has said how many workers there are, or how large one is. refused: a start would not come so far as to
    measure anything. path: what was asked for.
    """

    demand: Demand
    supply: Supply
    free: bool
    refused: bool
    path: str


def judged(outcome: Outcome, terms: Terms, *, preload: bool) -> Trial:
    """Return what follows from a trial. One in which the kernel has killed tells nothing: who was measured is new."""
    measured = _measured(outcome, terms.supply)
    if measured is None or outcome.kills > 0:
        return _failed(outcome, preload=preload)
    regions = regions_of(_demand(terms, measured, preload=preload), terms.supply)
    budget = _budget(terms, measured, preload=preload)
    fitting = room_for(regions)
    return Trial(
        preload=preload,
        note=_notes(outcome, measured, terms, budget, fitting),
        is_safe=True if preload else None,
        measured=measured,
        regions=regions,
        fitting=fitting,
        workers=0 if terms.refused else budget.workers,
        because="no worker of a guessed size fits" if terms.refused else budget.because,
        answers=outcome.answers,
    )


def compared(trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
    """Return them with what preloading saves."""
    own = {trial.preload: trial.measured.worker_bytes for trial in trials if trial.is_settled and trial.measured}
    if len(own) != len((False, True)):
        return tuple(_only_safe(trial) for trial in trials)
    saved = own[False] - own[True]
    text = f"safe, saves {human_bytes(saved)} a worker" if saved >= _WORTH_SAYING else "safe, saves nothing"
    return tuple(
        dataclasses.replace(trial, note=f"{text}; {trial.note}") if trial.preload else trial for trial in trials
    )


def _only_safe(trial: Trial) -> Trial:
    return dataclasses.replace(trial, note=f"safe; {trial.note}") if trial.is_safe else trial


def _measured(outcome: Outcome, supply: Supply) -> Measured | None:
    found = outcome.measured
    if not found:
        return None
    return Measured(
        worker_bytes=int(found["worker_bytes"]),
        shared_bytes=int(found["shared_bytes"]),
        peak_bytes=int(found["peak_bytes"]),
        files_bytes=int(found.get("files_bytes", FILES_BYTES)),
        shmem_bytes=outcome.shmem_bytes if supply.memory_is_limited else 0,  # else it is the whole machine's
        source="measured in a trial",
        provisional=bool(found["provisional"]),
    )


def _demand(terms: Terms, measured: Measured, *, preload: bool) -> Demand:
    return dataclasses.replace(terms.demand, preload=preload, measured=measured, worker_estimate_bytes=None)


def _budget(terms: Terms, measured: Measured, *, preload: bool) -> Budget:
    """Return what `launcher run` would have when it has measured the same."""
    demand = _demand(terms, measured, preload=preload)
    if not terms.free:
        estimate = terms.demand.worker_estimate_bytes
        demand = dataclasses.replace(demand, worker_estimate_bytes=estimate, measured=None if estimate else measured)
    return plan_workers(dataclasses.replace(demand, allow_overcommit=True), terms.supply)


def _failed(outcome: Outcome, *, preload: bool) -> Trial:
    if preload and _NOT_SAFE in outcome.why:
        reason = outcome.why[outcome.why.index("--preload") :].removeprefix("--preload: ")
        return Trial(preload=True, note=f"not safe: {reason}", is_safe=False)
    if outcome.kills > 0 or outcome.code == -signal.SIGKILL:
        return Trial(preload=preload, note=_killed(outcome), failed=True)
    why = f": {outcome.why}" if outcome.why else ""
    return Trial(preload=preload, note=f"it did not start (exit code {outcome.code}){why}", failed=True)


def _killed(outcome: Outcome) -> str:
    """Return what to say when the kernel ended some of it; where it does not count them, it is likely."""
    counted = f": the kernel counts {outcome.kills} in this group" if outcome.kills > 0 else ", probably"
    return f"it was killed for memory{counted}"


def _notes(outcome: Outcome, measured: Measured, terms: Terms, budget: Budget, fitting: int) -> str:
    asked = sum(outcome.answers.values())
    statuses = ", ".join(
        f"{count} x no answer" if status == NO_ANSWER else f"{count} x {status}"
        for status, count in sorted(outcome.answers.items())
    )
    when = f"asked {asked} times for {terms.path} ({statuses})" if asked else "nothing was asked"
    said = [f"before enough traffic: {when}" if measured.provisional else when]
    said += [f"something went wrong: {outcome.why}"] if outcome.failed else []
    if fitting < budget.workers:
        said.append(f"{budget.workers} {'does' if budget.workers == 1 else 'do'} not fit")
    if terms.refused:
        said.append(_advice(terms, measured))
    return "; ".join(said)


def _advice(terms: Terms, measured: Measured) -> str:
    """Return what a start needs that nothing is known of yet: to be told what was measured, or to be allowed."""
    each = sum(one.bytes for one in one_worker(regions_of(_demand(terms, measured, preload=False), terms.supply)))
    mib = -(-each // _WORTH_SAYING)
    try:
        plan_workers(dataclasses.replace(terms.demand, worker_estimate_bytes=mib * _WORTH_SAYING), terms.supply)
    except NoWorkerFits:
        return "a start needs --allow-overcommit, or more memory"
    return f"a start needs --worker-memory-estimate {mib}MiB"
