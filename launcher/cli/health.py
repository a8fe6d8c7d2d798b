"""Is it alive, started, ready?

`launcher.__main__` answers the usual words without this module, which is there for help and for mistakes.
"""

from __future__ import annotations

import sys

import click

from launcher.cli.probe import PATHS, answer
from launcher.cli.which import instance_options, which


@click.command(
    help="Tell by the exit code whether the running launcher is alive, ready or started: 0 yes, 1 no, or nothing runs.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("probe", type=click.Choice(list(PATHS)), default="ready", metavar="[live|ready|startup]")
@click.option("-v", "--verbose", is_flag=True, help="Print one line for each check.")
@instance_options
def health(probe: str, verbose: bool, **given: object) -> None:  # noqa: FBT001 - click passes flags by name
    """Ask the monitor."""
    meant = which(given)
    sys.exit(answer(probe, verbose=verbose, pid=meant.pid, address=meant.address, runtime_dir=meant.runtime_dir))
