"""Who is called when a person types `launcher` or `python -m launcher`?"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line. `--version` is answered before anything is imported."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from launcher import __version__  # the one thing that is needed

        sys.stdout.write(f"launcher {__version__}\n")
        return
    gc.disable()  # imports leave no garbage to look for; `launcher.boot.sequence` switches it on again
    from launcher.cli.main import cli  # click, which --version does without

    cli(prog_name="launcher")


if __name__ == "__main__":
    main()
