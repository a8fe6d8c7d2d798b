"""What is said of a step that ended badly?"""

from __future__ import annotations

from launcher.errors import DependencyDown, ExitCode, LauncherError, StepFailed
from launcher.masking import masked
from launcher.plan import PlannedStep
from launcher.steps import Command, Finished
from launcher.units import human_seconds

_ERRORS: dict[int, type[LauncherError]] = {ExitCode.DEPENDENCY_DOWN: DependencyDown}


def failure(planned: PlannedStep, command: Command, result: Finished, doubt: str) -> LauncherError:
    """Return the error for a step that ended badly: what happened, with the end of its output."""
    if result.timed_out:
        limit = human_seconds(planned.settings.timeout_s)
        return StepFailed(
            f"pre-start step {planned.name!r} did not end within its timeout of {limit}: it was killed",
            cure=f'timeout = "..." in its table ({planned.settings.origin})',
            detail=masked(result.tail),
        )
    how = f"exit code {result.status}" if result.status >= 0 else f"signal {-result.status}"
    kind = _ERRORS.get(command.exit_codes.get(result.status, 0), StepFailed)
    return kind(
        f"pre-start step {planned.name!r} failed with {how}: {planned.step.where()}" + (f"; {doubt}" if doubt else ""),
        cure='a [[prestart]] wait-for = "env:DATABASE_URL" before it waits for a database' if doubt else "",
        detail=masked(result.tail),
    )
