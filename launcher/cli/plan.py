"""What would happen, and why?"""

from __future__ import annotations

import sys

import click

from launcher.cli.options import LauncherCommand, launcher_options
from launcher.cli.reporting import reporting, tell
from launcher.errors import LauncherError


@click.command(
    cls=LauncherCommand,
    help="Tell what would happen and why; asks the database, changes nothing. Its exit code is always 0.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option(
    "--measure",
    is_flag=True,
    help="Start the application, without and with --preload, ask it, measure it, stop it: its import and its lifespan "
    "do what they do.",
)
@click.option("--measure-path", default="/", metavar="PATH", help="What --measure asks for. [/]")
@launcher_options()
def plan(
    as_json: bool,  # noqa: FBT001 - click's way
    measure: bool,  # noqa: FBT001 - click's way
    measure_path: str,
    server_args: tuple[str, ...] = (),
    **given: object,
) -> None:
    """Print the plan."""
    from launcher.boot.preview import preview  # with the command
    from launcher.boot.watch import Watch
    from launcher.cli.plan_text import as_document, print_preview, without_settings
    from launcher.log import log
    from launcher.settings.load import load

    try:
        settings = load(given, server_args=server_args)
    except LauncherError as error:  # a problem like every other: what cannot be planned is said, and the code is 0
        tell(error)
        _print_json(without_settings(error), wanted=as_json)
        return
    with reporting():
        log.configure("console", "warning")
        with (watch := Watch()).installed():
            seen = preview(settings, watch)
            if measure:
                from launcher.boot.trials.measure import Measuring, Words  # seldom

                if sys.stderr.isatty():
                    click.echo("measuring: the application is started without and with --preload ...", err=True)
                words = Words(given=given, server_args=server_args, path=measure_path)
                seen.trials, seen.doubts = Measuring(seen, settings, words, watch).outcome()
    if as_json:
        _print_json(as_document(seen))
    else:
        print_preview(seen)


def _print_json(document: dict[str, object], *, wanted: bool = True) -> None:
    import json  # where it is asked for

    if wanted:
        click.echo(json.dumps(document, indent=2, default=str))
