"""What may a step ask of the launcher?

The one implementation of `launcher.steps.StepContext`, with the environment as earlier steps have left it.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from launcher.boot.guarded import Run
from launcher.boot.lock_side import LockSide
from launcher.boot.release import known_release, release_id
from launcher.boot.watch import Watch
from launcher.databases import ask
from launcher.errors import UsageError
from launcher.locks import Held, Lock
from launcher.log import log
from launcher.settings.topics import Settings
from launcher.state import make_state_dir, state_dir
from launcher.steps import Command, Finished

T = TypeVar("T")
_LEARNT = "learnt.json"
_CONNECT_S = 5.0
_LOOK_S = 10.0
_ASKING_GRACE_S = 0.1  # from TERM to KILL: a stop signal is answered within 200 ms while something is only asked
_RELEASE_S = 120.0  # to hash the application's own source
_DECIDED = frozenset({"PORT", "HOST", "BIND", "WEB_CONCURRENCY", "MAX_WORKERS", "WORKERS_PER_CORE"})


class Context:
    """See `launcher.steps.StepContext`."""

    def __init__(self, watch: Watch, settings: Settings, import_dir: Path | None, *, only_looks: bool = False) -> None:
        """Begin with the launcher's own environment.

        `only_looks`: a person waits for the answer, so a question has 10 s, and nothing is remembered for later starts.
        """
        self._only_looks = only_looks
        self.watch = watch
        self.cwd, self.import_dir = settings.cwd, import_dir
        self.environ: Mapping[str, str] = dict(settings.environ)
        self._first_environ = self.environ
        self.held: Held | None = None  # while it is ours: what is asked under the lock keeps its descriptors too
        self.side: LockSide | None = None  # as soon as a lock is chosen: a question to its database goes through it
        self.database: str | None = None  # what the migrations work on, as soon as a step knows it; no password
        self.on_unknown_revision = settings.prestart.on_unknown_revision
        self._explicit_release = settings.prestart.release

    @property
    def lock(self) -> Lock | None:
        """The lock, if one was chosen."""
        return self.side.lock if self.side is not None else None

    @functools.cached_property
    def release(self) -> str:
        """The release id: read late, since it may mean hashing the application's source."""
        try:
            found = self.watch.off_thread(
                lambda: release_id(self._explicit_release, self.cwd, self.environ), timeout_s=_RELEASE_S
            )
        except TimeoutError as error:
            raise UsageError(f"hashing the source below {self.cwd}: {error}", cure="give --release ID") from error
        log.info("launcher.release_found", release=found.value, source=str(found.origin))
        return found.value

    @property
    def told_release(self) -> str | None:
        """The release id for those who wait; None where it cannot be determined (a source too large to hash)."""
        try:
            return self.release
        except UsageError:
            return None

    @property
    def release_so_far(self) -> str:
        """The release id if it is known without a look at the source, else ""."""
        if found := self.__dict__.get("release"):  # where `cached_property` keeps it
            return str(found)
        with contextlib.suppress(UsageError):  # who needs it will say so
            if known := known_release(self._explicit_release, self.environ):
                return known.value
        return ""

    @property
    def exported(self) -> bool:
        """Whether a step has exported anything yet."""
        return self.environ is not self._first_environ

    def export(self, changes: Mapping[str, str | None]) -> None:
        """Let later steps and the server see what a step exported; None removes."""
        for name in sorted(name for name in changes if name in _DECIDED or name.startswith("LAUNCHER_")):
            because = "a step exported it, but it was read before the steps: the server sees it, the launcher does not"
            log.warning("launcher.setting_ignored", name=name, origin="a pre-start step", because=because)
        kept = {name: value for name, value in self.environ.items() if name not in changes}
        self.environ = kept | {name: value for name, value in changes.items() if value is not None}

    def run(self, command: Command, *, timeout_s: float) -> Finished:
        """Execute quietly; see `StepContext.run`. What only asks is killed at once when it has to end."""
        limit_s = min(timeout_s, _LOOK_S) if self._only_looks else timeout_s
        run = Run(
            watch=self.watch,
            cwd=self.cwd,
            environ=self.environ,
            timeout_s=limit_s,
            held=self.held,
            grace_s=_ASKING_GRACE_S,
        )
        return run.execute(command)

    def off_thread(self, function: Callable[[], T], *, timeout_s: float) -> T:
        """Call what may block; see `StepContext.off_thread`."""
        return self.watch.off_thread(function, timeout_s=timeout_s)

    def ask(self, url: str, sql: str, *, timeout_s: float) -> list[tuple[object, ...]]:
        """Ask a database one question; see `StepContext.ask`."""

        def question() -> list[tuple[object, ...]]:
            rows = self.lock.ask(url, sql) if self.lock is not None else None
            return ask(url, sql, connect_timeout_s=_CONNECT_S) if rows is None else rows

        return self.off_thread(question, timeout_s=timeout_s)

    def remembered(self, key: str) -> object | None:
        """Return what an earlier start kept; see `StepContext.remembered`."""
        return self._learnt().get(key)

    def remember(self, key: str, value: object) -> None:
        """Keep a value; see `StepContext.remember`. A lost update by another start only costs it time."""
        if self._only_looks:
            return
        from launcher.locks.file_ledger import save  # only where something is written

        with contextlib.suppress(OSError, UsageError):
            folder = make_state_dir(state_dir(self.cwd))
            save(folder / _LEARNT, json.dumps({**self._learnt(), key: value}).encode())

    def _learnt(self) -> dict[str, object]:
        try:
            learnt = json.loads((state_dir(self.cwd) / _LEARNT).read_bytes())
        except (OSError, UsageError, ValueError):
            return {}
        return learnt if isinstance(learnt, dict) else {}

    def say(self, event: str, **facts: object) -> None:
        """Write one log event."""
        log.info(event, **facts)

    def warn(self, event: str, **facts: object) -> None:
        """Write one log event that somebody should look at."""
        log.warning(event, **facts)
