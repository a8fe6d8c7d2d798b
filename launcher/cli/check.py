"""Would a start succeed?"""

from __future__ import annotations

import sys

import click

from launcher.cli.options import LauncherCommand, launcher_options
from launcher.cli.reporting import as_text, reporting


@click.command(
    cls=LauncherCommand,
    help="Plan, import the application, reach every lock, database and plugin. Exits as `run` would.",
)
@launcher_options()
def check(server_args: tuple[str, ...] = (), **given: object) -> None:
    """Print one line for each part, and the error of each that would end a start."""
    from launcher.boot.preview import preview, probe  # with the command
    from launcher.boot.watch import Watch
    from launcher.cli.tables import show
    from launcher.log import log
    from launcher.settings.load import load

    with reporting():
        settings = load(given, server_args=server_args)
        log.configure("console", "warning")
        with (watch := Watch()).installed():
            seen = preview(settings, watch)
            probe(seen, settings, watch)
    bad = {problem.part for problem in seen.problems}
    parts = ["app", "workers", "lock", *(f"step {p.name}" for p in seen.plan.steps), "server", "address"]
    unsure = {f"step {p.name}" for p, answer in seen.steps if answer.due is None}
    rows = [(part, "failed" if part in bad else "cannot tell" if part in unsure else "ok") for part in parts]
    show("check", ("part", "result"), rows)
    for problem in seen.problems:
        sys.stderr.write(as_text(problem.error))
    sys.exit(seen.problems[0].error.exit_code if seen.problems else 0)
