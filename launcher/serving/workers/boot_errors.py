"""Where do the errors of a boot go?

Into the worker's evidence instead of its log: the arbiter reads them there and says them once, however many workers
fail alike, and however often.
"""

from __future__ import annotations

import logging
import os
import traceback

from launcher.serving.evidence import Evidence

# Servers log on these loggers what keeps an application from starting. A filter sees only what is logged on its own
# logger, and survives a new logging configuration (`dictConfig` replaces handlers).
LOGGERS = ("uvicorn.error", "gunicorn.error")


class BootErrors(logging.Filter):
    """Takes records of level ERROR and above out of the servers' loggers while it is installed."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__()
        self.evidence = evidence
        self.said = False  # whether anything was taken
        self._records: list[logging.LogRecord] = []
        self._form = logging.Formatter("%(message)s")

    def install(self) -> None:
        """Begin to take them."""
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def remove(self) -> None:
        """Let them go to the log again. Twice is fine."""
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def give_back(self) -> None:
        """Let the log have what was taken, of a boot that did not fail for it, and all that comes."""
        self.remove()
        records, self._records = self._records, []
        if self.said:
            os.ftruncate(self.evidence.fd, 0)
        for record in records:
            logging.getLogger(record.name).handle(record)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is for the log."""
        if record.levelno < logging.ERROR:
            return True
        self.write(self._form.format(record))
        self._records.append(record)
        return False

    def write(self, error: BaseException | str) -> None:
        """Write down why the worker cannot boot."""
        text = error if isinstance(error, str) else "".join(traceback.format_exception(error))
        self.evidence.write(text.rstrip("\n") + "\n")
        self.said = True
