"""What would happen, and why?"""

from __future__ import annotations

import click

from launcher.cli.options import LauncherCommand, launcher_options
from launcher.cli.reporting import reporting


@click.command(
    cls=LauncherCommand,
    help="Tell what would happen and why; asks the database, changes nothing. Its exit code is always 0.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@launcher_options()
def plan(as_json: bool, server_args: tuple[str, ...] = (), **given: object) -> None:  # noqa: FBT001 - click's way
    """Print the plan."""
    from launcher.boot.preview import preview  # with the command
    from launcher.boot.watch import Watch
    from launcher.cli.plan_text import as_document, print_preview
    from launcher.log import log
    from launcher.settings.load import load

    with reporting():
        settings = load(given, server_args=server_args)
        log.configure("console", "warning")
        with (watch := Watch()).installed():
            seen = preview(settings, watch)
    if as_json:
        import json  # where it is asked for

        click.echo(json.dumps(as_document(seen), indent=2, default=str))
    else:
        print_preview(seen)
