"""What has been decided?

The frozen result of everything that was asked for, found and read, before anything is changed: `launcher plan` prints
it, `launcher run` carries it out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from launcher.budget import Budget
from launcher.discovery import App
from launcher.growth import Growth
from launcher.locks import Lock, Owner
from launcher.origin import Ignored, Sourced
from launcher.steps import Step, StepSettings

_LONGEST_NAME, _SHORTENED = 120, 100  # characters; every ledger takes a name of this length as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step with the class that knows it. `once_per` is the configured policy or the type's own."""

    settings: StepSettings
    step: Step
    once_per: str
    project: str = ""  # its name in pyproject.toml: two applications may share a database and a release id

    @property
    def name(self) -> str:
        """The step's name, as people see it."""
        return self.settings.name

    @property
    def record_name(self) -> str:
        """The name in the ledger. A step without one goes by what it does: its number changes when steps are added."""
        name = self.settings.name if self.settings.named else f"{self.settings.type} {_short(self._text)}"
        told = f"{self.project}: {name}" if self.project else name
        return told if len(told) <= _LONGEST_NAME else f"{told[:_SHORTENED]} {_short(told)}"

    @property
    def _text(self) -> str:
        return f"{self.settings.value!r} {sorted(self.settings.options.items())!r}"

    @property
    def under_lock(self) -> bool:
        """Whether only one process may run it at a time."""
        return self.step.needs_lock and self.once_per != "replica"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLock:
    """The lock that the steps run under, unopened, and why this one."""

    lock: Lock
    because: str
    database: str | None  # in which its records are, as steps call theirs; None: beside no database
    owner: Owner  # who asks for it
    again: Callable[[Owner], Lock]  # another object for the same lock: one that hangs in a thread is not touched again
    ignored: tuple[Ignored, ...] = ()  # what was set and is of no use to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `run` would do; None for a part that could not be decided.

    `lock` is the one that was asked for; with `auto` it is chosen when the steps have said what they work on.
    """

    app: App | None
    server: Sourced[str]
    worker_class: Sourced[str]
    budget: Budget | None
    steps: tuple[PlannedStep, ...]
    locked: bool  # whether a step needs a lock
    lock: PlannedLock | None
    addresses: tuple[Sourced[str], ...]
    drain_delay: Sourced[float]  # seconds, as the next
    graceful_timeout: Sourced[float]
    bind_early: Sourced[bool]
    ignored: tuple[Ignored, ...] = ()
    doubts: tuple[str, ...] = ()  # about the steps
    growth: Growth | None = None  # None: the pool has the size that `budget` says
    stop_doubts: tuple[str, ...] = ()  # about the two durations
    settings: Mapping[str, Sourced[object]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
