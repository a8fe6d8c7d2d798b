"""Who is called when a person types `launcher` or `python -m launcher`?"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line. `--version` and `health` are answered before anything is imported that they do without."""
    _open_streams()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from launcher import __version__  # the one thing that is needed

        sys.stdout.write(f"launcher {__version__}\n")
        return
    if sys.argv[1:2] == ["health"]:
        from launcher.cli.probe import quick  # a probe comes every few seconds, in every replica

        if (code := quick(sys.argv[2:])) is not None:
            sys.exit(code)
    gc.disable()  # imports leave no garbage to look for; `launcher.boot.sequence` switches it on again
    from launcher.cli.main import cli  # click, which --version does without

    cli(prog_name="launcher")


def _open_streams() -> None:
    """Put the null device where a standard stream is closed: a socket would get its number, and the server's log."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number (open(2)): this one
            os.set_inheritable(number, True)  # noqa: FBT003 - positional only
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for the whole life


if __name__ == "__main__":
    main()
