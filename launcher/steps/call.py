"""How is a Python function run as a step?"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import ClassVar

from launcher.settings.topics import OncePer, StepSettings
from launcher.steps import Command, Due, Finished, StepContext, checking

_TARGET = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class CallStep:
    """The function is called without arguments in a process of its own; a coroutine function is awaited there."""

    once_per: ClassVar[OncePer] = "release"
    needs_lock: ClassVar[bool] = True
    tells_due: ClassVar[bool] = False

    def __init__(self, settings: StepSettings) -> None:
        """Raise UsageError unless the value is `module:function`."""
        checking.options(settings)
        self._target = checking.text(settings, "module:function").removesuffix("()")
        if not _TARGET.fullmatch(self._target):
            raise checking.refusal(settings, "has to be module:function", cure='call = "app.seed:main"')

    def due(self, context: StepContext) -> Due:  # noqa: ARG002 - the Protocol's; a function does not know itself
        """Leave it to the record."""
        return Due(due=None, because="a function cannot tell whether it has been called")

    def command(self, context: StepContext) -> Command:
        """Return the child that imports and calls it. -P: what we import ourselves is never the application's."""
        folder = [str(context.import_dir)] if context.import_dir else []
        return Command(argv=(sys.executable, "-P", "-m", "launcher.steps.call_child", self._target, *folder))

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:  # noqa: ARG002 - Protocol's
        """Return nothing: a process of its own cannot change our environment."""
        return {}

    def where(self) -> str:
        """Return `module:function`."""
        return self._target
