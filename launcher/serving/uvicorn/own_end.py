"""What does one uvicorn process report of its own end?

What it can: that it could not start, and that the application left. What kills it nobody sees but whoever started us,
and the next run.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from launcher.scoreboard import Slot, Stage
from launcher.serving.incidents import Incidents

_MOST = 20  # records


class Overheard(logging.Filter):
    """What uvicorn logs as an error, which goes to the log all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._form = logging.Formatter("%(message)s")

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep it."""
        if record.levelno >= logging.ERROR and len(self.texts) < _MOST:
            with contextlib.suppress(Exception):  # arguments that do not fit: logging itself will say so
                self.texts.append(self._form.format(record))
        return True


@contextlib.contextmanager
def reported(incidents: Incidents, slot: Slot) -> Iterator[None]:
    """Report how the block ends, when it ends by sys.exit and not with 0. Waits for the plugins, not for long."""
    errors = Overheard()
    logging.getLogger("uvicorn.error").addFilter(errors)
    try:
        yield
    except SystemExit as end:
        if end.code:
            _report(incidents, slot, end.code, "\n".join(errors.texts))
        raise
    finally:
        logging.getLogger("uvicorn.error").removeFilter(errors)


def _report(incidents: Incidents, slot: Slot, code: object, written: str) -> None:
    number = code if isinstance(code, int) else 1
    served, last = slot.stage >= Stage.READY, written.strip().rpartition("\n")[2]
    said = f"the server left with code {number}" if served else f"the application never became ready: {last}"
    with contextlib.suppress(BaseException):  # a signal ends the waiting; the exit code stays what it is
        incidents.report(
            "crash" if served else "start-failed",
            said,
            verdict="exited" if served else "boot-failed",
            evidence=(f"sys.exit was called with code {number} in stage {slot.stage.name.lower()}",),
            exit_code=int(number),
            pid=os.getpid(),
            stage=slot.stage.name.lower(),
            wait_status={"code": int(number)},
            stacks=written,
        )
        incidents.outbox.wait()
    incidents.finish()
