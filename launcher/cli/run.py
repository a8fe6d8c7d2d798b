"""How does a start begin?"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import click

from launcher.cli.options import LauncherCommand, launcher_options
from launcher.cli.reporting import reporting
from launcher.settings.topics import Settings


@click.command(cls=LauncherCommand, help="Run the pre-start steps once, then become the server.")
@launcher_options()
def run(server_args: tuple[str, ...] = (), **given: object) -> None:
    """Start; does not return."""
    from launcher.boot.handover import remember_signals  # with the command
    from launcher.boot.sequence import run as start
    from launcher.boot.watch import Watch

    original = remember_signals()
    with reporting() as tell:
        start(functools.partial(_settings, given, server_args), Watch(), original, tell)


@click.command(cls=LauncherCommand, help="Run the pre-start steps only, then exit: init container, release phase, Job.")
@launcher_options()
def prestart(server_args: tuple[str, ...] = (), **given: object) -> None:
    """Run the steps."""
    from launcher.boot.sequence import steps_only  # with the command
    from launcher.boot.watch import Watch

    with reporting() as tell:
        steps_only(functools.partial(_settings, given, server_args), Watch(), tell)


def _settings(given: dict[str, object], server_args: Sequence[str]) -> Settings:
    """Read the settings and let the log begin; errors until then are plain sentences."""
    from launcher.log import log  # with the command
    from launcher.settings.load import load

    settings = load(given, server_args=server_args)
    log.configure(settings.log.format, settings.log.level)
    return settings
