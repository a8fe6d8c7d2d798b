"""How does an error become text and an exit code?

The one place that prints errors and ends the process (evidence/style.md, habit 17).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from launcher.errors import ExitCode, LauncherError
from launcher.log import log
from launcher.redact import redact


@contextlib.contextmanager
def reporting() -> Iterator[Callable[[LauncherError], None]]:
    """Turn a LauncherError into one message and its exit code.

    Yields what says an error that is going to be raised: at once, where something that takes time comes before.
    """
    told: list[LauncherError] = []

    def tell_once(error: LauncherError) -> None:
        if error not in told:
            told.append(error)
            tell(error)

    try:
        yield tell_once
    except LauncherError as error:
        tell_once(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.SIGNALLED + 2)


def tell(error: LauncherError) -> None:
    """Write one error: a log event where logs are JSON, sentences for a person."""
    if log.configured and not log.console:
        facts = {"message": error.message, "cure": error.cure, "detail": error.detail}
        known = {name: value for name, value in facts.items() if value}
        public = next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
        log.error("launcher.start_failed", error=public, exit_code=int(error.exit_code), **known)
        return
    sys.stderr.write(as_text(error))
    sys.stderr.flush()


def as_text(error: LauncherError) -> str:
    """Return `error: ...`, what somebody else printed, and `try: ...`."""
    lines = [f"error: {error.message}"]
    lines += [f"  | {line}" for line in error.detail.splitlines()]
    lines += [f"try: {error.cure}"] if error.cure else []
    return redact("\n".join(lines)) + "\n"
