"""Which plugins are there, and what do they bring?"""

from __future__ import annotations

import sys

import click

from launcher.cli.options import LauncherCommand, launcher_options
from launcher.cli.reporting import reporting


@click.command(cls=LauncherCommand, help="List plugins, their versions and what they bring.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@launcher_options("plugins")
def plugins(as_json: bool, **given: object) -> None:  # noqa: FBT001 - click passes flags by name
    """Print every kind and hook on offer, in order of kind and word."""
    from launcher.cli.tables import show  # with the command
    from launcher.plugins import in_modules, installed, with_hooks
    from launcher.settings.load import load

    with reporting():
        settings = load(given)
        sys.path.insert(0, str(settings.app.app_dir or settings.cwd))  # where `plugins = [...]` are looked for first
        hooks = with_hooks(settings.plugins, settings.app.app_dir or settings.cwd)
        offers = sorted({*installed(), *in_modules(settings.plugins), *hooks}, key=lambda one: (one.kind, one.word))
    if as_json:
        import json  # where it is asked for

        names = ("kind", "word", "target", "distribution", "version")
        click.echo(json.dumps([{name: getattr(offer, name) for name in names} for offer in offers], indent=2))
        return
    rows = [(o.kind[:-1], o.word, f"{o.distribution} {o.version}".strip(), o.target) for o in offers]
    show("plugins", ("kind", "word", "from", "target"), rows)
