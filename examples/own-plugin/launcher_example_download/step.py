"""What is the step type `download`?

[[prestart]]
name = "model"
download = "https://models.example/small.bin"
to = "data/small.bin"
sha256 = "9f86d081..."
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import ClassVar

from launcher.errors import UsageError
from launcher.steps import Command, Due, Finished, OncePer, StepContext, StepSettings
from launcher_example_download.fetch import digest


class DownloadStep:
    """Fetches a file into the working directory, unless it is already there with the right content."""

    once_per: ClassVar[OncePer] = "replica"  # each container has a disk of its own
    needs_lock: ClassVar[bool] = False  # the file appears by a rename, so two at a time do no harm
    tells_due: ClassVar[bool] = True

    def __init__(self, settings: StepSettings) -> None:
        """Check that the table has `to` and `sha256` and nothing else; raise UsageError."""
        if settings.options.keys() != {"to", "sha256"}:
            found = ", ".join(sorted(settings.options)) or "neither"
            message = f"{settings.origin}: the step {settings.name!r} needs `to` and `sha256`, and has {found}"
            raise UsageError(message, cure='write to = "data/file" and sha256 = "..." beside download = "URL"')
        self.url = str(settings.value)
        self.to = str(settings.options["to"])
        self.sha256 = str(settings.options["sha256"])

    def due(self, context: StepContext) -> Due:
        """Compare the file with its checksum."""
        if digest(context.cwd / self.to) == self.sha256:
            return Due(due=False, because=f"{self.to} has the right checksum")
        return Due(due=True, because=f"{self.to} is missing or different")

    def command(self, context: StepContext) -> Command:
        """Let a process of its own do the work. The URL may be a signed one: it is kept out of the argv."""
        argv = (sys.executable, "-m", "launcher_example_download.fetch", str(context.cwd / self.to), self.sha256)
        return Command(argv=argv, stdin=self.url.encode())

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:
        """Export nothing: the file is the result."""
        del context, result
        return {}

    def where(self) -> str:
        """Name the file; the URL's query may hold a signature."""
        return f"{self.url.partition('?')[0]} -> {self.to}"
