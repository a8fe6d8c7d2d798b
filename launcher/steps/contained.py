"""What if a plugin's step type is broken?

Its exceptions become an error that names it; the built-in types are called without this.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import TypeVar

from launcher.errors import LauncherError, PluginError
from launcher.steps import Command, Due, Finished, Step, StepContext, StepSettings

T = TypeVar("T")


class ContainedStep:
    """A plugin's step; keeps `launcher.steps.Step`."""

    def __init__(self, kind: type[Step], settings: StepSettings) -> None:
        """Make the plugin's step. Raises PluginError for whatever else than a LauncherError it raises."""
        self._who = f"step type {settings.type!r} ({kind.__module__}:{kind.__qualname__})"
        self._step = self._contain(lambda: kind(settings))
        self.once_per, self.needs_lock = self._contain(lambda: (kind.once_per, kind.needs_lock))
        self.tells_due = bool(getattr(kind, "tells_due", False))
        self.is_local = getattr(self._step, "is_local", None)

    def due(self, context: StepContext) -> Due:
        """Ask the plugin."""
        return self._contain(lambda: self._step.due(context))

    def command(self, context: StepContext) -> Command:
        """Ask the plugin."""
        return self._contain(lambda: self._step.command(context))

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:
        """Tell the plugin."""
        return self._contain(lambda: self._step.finished(context, result))

    def where(self) -> str:
        """Ask the plugin."""
        return self._contain(self._step.where)

    def _contain(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except LauncherError:
            raise
        except Exception as error:
            detail = "".join(traceback.format_exception(error, limit=-3))
            raise PluginError(f"{self._who}: {type(error).__name__}: {error}", detail=detail) from error
