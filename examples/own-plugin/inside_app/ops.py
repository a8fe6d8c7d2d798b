"""What does the launcher do for this application alone? A step type that wants variables to be set."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import ClassVar

from launcher.steps import Command, Due, Finished, OncePer, StepContext, StepSettings

CHECK = """
import os, sys
missing = [name for name in sys.argv[1:] if not os.environ.get(name)]
sys.exit("not set: " + ", ".join(missing) if missing else 0)
"""


class RequireStep:
    """`require = ["NAME", ...]`: without these variables nothing starts."""

    once_per: ClassVar[OncePer] = "replica"  # every process has an environment of its own
    needs_lock: ClassVar[bool] = False
    tells_due: ClassVar[bool] = True

    def __init__(self, settings: StepSettings) -> None:
        """Take one name or a list of names."""
        value = settings.value
        self.names = tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)

    def due(self, context: StepContext) -> Due:
        """Look at the environment that the server will get."""
        missing = [name for name in self.names if not context.environ.get(name)]
        return Due(due=bool(missing), because=f"not set: {', '.join(missing)}" if missing else "all set")

    def command(self, context: StepContext) -> Command:
        """Fail with the names: the message becomes the reason of the refused start."""
        del context
        return Command(argv=(sys.executable, "-c", CHECK, *self.names))

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:
        """Export nothing."""
        del context, result
        return {}

    def where(self) -> str:
        """Name the variables."""
        return ", ".join(self.names)


launcher_steps = {"require": RequireStep}
