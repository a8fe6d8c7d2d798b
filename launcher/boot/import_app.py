"""Can the application be imported?

A program of its own (`python -P -m launcher.boot.import_app FOLDER MODULE:ATTRIBUTE`) for `launcher check`: the
launcher never imports the application into its own process. The traceback goes to stderr; exit code 3, as the servers'.
"""

from __future__ import annotations

import importlib
import sys
import traceback

from launcher.errors import ExitCode


def main(folder: str, target: str) -> int:
    """Import `module:attribute` with `folder` first on the path; return the exit code."""
    sys.path.insert(0, folder)
    module, _, attribute = target.partition(":")
    try:
        value = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except BaseException:  # noqa: BLE001 - an application may raise anything, SystemExit included
        traceback.print_exc()
        return ExitCode.NEVER_READY
    return ExitCode.OK if callable(value) else _refuse(f"{target} is not callable: {type(value).__name__}")


def _refuse(sentence: str) -> int:
    sys.stderr.write(sentence + "\n")
    return ExitCode.NEVER_READY


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
