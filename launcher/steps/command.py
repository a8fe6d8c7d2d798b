"""How is a command run as a step?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import ClassVar

from launcher.settings.topics import OncePer, StepSettings
from launcher.steps import Command, Due, Finished, StepContext, checking


class RunStep:
    """A string is given to the shell as it stands; a list is a program with its arguments, without a shell."""

    once_per: ClassVar[OncePer] = "release"
    needs_lock: ClassVar[bool] = True
    tells_due: ClassVar[bool] = False

    def __init__(self, settings: StepSettings) -> None:
        """Raise UsageError unless the value is a string or a list of strings."""
        checking.options(settings)
        self._argv = _argv(settings)

    def due(self, context: StepContext) -> Due:  # noqa: ARG002 - the Protocol's; a command does not know itself
        """Leave it to the record."""
        return Due(due=None, because="a command cannot tell whether it has been done")

    def command(self, context: StepContext) -> Command:  # noqa: ARG002 - the Protocol's
        """Return the command itself."""
        return Command(argv=self._argv)

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:  # noqa: ARG002 - as above
        """Return nothing: a process of its own cannot change our environment."""
        return {}

    def where(self) -> str:
        """Return what a person would type."""
        return shlex.join(self._argv) if self._argv[:2] != _SHELL else f"sh -c {shlex.quote(self._argv[2])}"


_SHELL = ("/bin/sh", "-c")


def _argv(settings: StepSettings) -> tuple[str, ...]:
    value = settings.value
    if isinstance(value, str):
        return (*_SHELL, checking.text(settings, "a command"))
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise checking.refusal(settings, 'has to be a string for the shell or a list: ["program", "argument"]')
    if not value or not value[0]:
        raise checking.refusal(settings, "names no program")
    return tuple(value)
