"""How does a test let a step look and work without a launcher around it?"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from launcher.databases import ask
from launcher.origin import Origin, OriginKind
from launcher.steps import Command, Due, Finished, Step, StepSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

ORIGIN = Origin(OriginKind.FILE, "launcher.toml")


def settings(kind: str, value: object, *, timeout_s: float = 30.0, **options: object) -> StepSettings:
    """Return the settings of a table that has this key and these further ones."""
    return StepSettings(name="it", type=kind, value=value, origin=ORIGIN, timeout_s=timeout_s, options=options)


@dataclass(slots=True, kw_only=True)
class TestContext:
    """`launcher.steps.StepContext` with real processes and threads, without guard, signals or log."""

    __test__ = False  # no test class

    cwd: Path
    environ: Mapping[str, str]
    import_dir: Path | None = None
    release: str = "r1"
    on_unknown_revision: str = "refuse"
    ran: list[Command] = field(default_factory=list)
    memory: dict[str, object] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    warned: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def run(self, command: Command, *, timeout_s: float) -> Finished:
        """Execute the command to its end."""
        self.ran.append(command)
        reading, writing = os.pipe()
        report: list[bytes] = []
        reader = threading.Thread(target=lambda: report.append(_all(reading)))
        reader.start()
        started = time.monotonic()
        try:
            done = subprocess.run(
                command.argv,
                cwd=self.cwd,
                env={**self.environ, **command.environ, "LAUNCHER_STEP_REPORT_FD": str(writing)},
                input=command.stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                timeout=timeout_s,
                check=False,
            )
        finally:
            os.close(writing)
            reader.join()
        return Finished(
            status=done.returncode,
            seconds=time.monotonic() - started,
            tail=done.stdout.decode(errors="replace"),
            report=report[0],
        )

    def carry_out(self, step: Step, timeout_s: float = 30) -> tuple[Finished, Mapping[str, str | None]]:
        """Run the step's command; return how it ended and, after success, what it exports."""
        result = self.run(step.command(self), timeout_s=timeout_s)
        return result, step.finished(self, result) if result.ok else {}

    def due(self, step: Step) -> Due:
        """Ask the step, and forget what was run before."""
        self.ran.clear()
        return step.due(self)

    def off_thread(self, function: Callable[[], T], *, timeout_s: float) -> T:
        """Call it in a thread, as the launcher does."""
        answers: list[T] = []
        errors: list[BaseException] = []

        def call() -> None:
            try:
                answers.append(function())
            except BaseException as error:  # noqa: BLE001 - it is raised below
                errors.append(error)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(timeout_s)
        if errors:
            raise errors[0]
        if not answers:
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        return answers[0]

    def ask(self, url: str, sql: str, *, timeout_s: float) -> list[tuple[object, ...]]:
        """Ask by a connection of its own."""
        self.asked.append(sql)
        return self.off_thread(lambda: ask(url, sql, connect_timeout_s=timeout_s), timeout_s=timeout_s)

    def remembered(self, key: str) -> object | None:
        """Return what was kept."""
        return self.memory.get(key)

    def remember(self, key: str, value: object) -> None:
        """Keep it."""
        self.memory[key] = value

    def say(self, event: str, **facts: object) -> None:
        """Say nothing."""

    def warn(self, event: str, **facts: object) -> None:
        """Keep it."""
        self.warned.append((event, facts))


def _all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read()
