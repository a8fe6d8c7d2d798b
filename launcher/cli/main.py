"""Which commands are there?

A command's module is imported when it is typed: `launcher --help` and `launcher plugins` pay for nothing of `run`.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click

from launcher import __version__

FIRST = ("run", "prestart", "plan", "status")
MORE = ("health", "reload", "scale", "recycle", "stop", "crashes", "check", "lock", "plugins")
_MODULES = {
    "prestart": "run",
    "reload": "control",
    "scale": "control",
    "recycle": "control",
    "stop": "control",
}  # the others' have their names
_HELP = {
    "run": "Run the pre-start steps once, then become the server.",
    "prestart": "Run the pre-start steps only: init container, release phase, Job.",
    "plan": "Tell what would happen and why; changes nothing.",
    "status": "Show the running pool, once or as a live table.",
    "health": "Tell by the exit code whether it is alive, ready or started.",
    "reload": "Replace every worker, one after the other.",
    "scale": "Set the number of workers.",
    "recycle": "Replace one worker.",
    "stop": "Stop the launcher and its pool.",
    "crashes": "Tell why workers died and starts failed.",
    "check": "Plan, import the application, reach every lock, database and plugin.",
    "lock": "Tell who holds the lock, since when, and what has been recorded.",
    "plugins": "List plugins, their versions and what they bring.",
}


class Commands(click.Group):
    """The group; loads a command's module on demand."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return every command, the first ones first."""
        return [*FIRST, *MORE]

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of a command."""
        if name not in _HELP:
            return None
        module = importlib.import_module(f"launcher.cli.{_MODULES.get(name, name)}")
        command: click.Command = getattr(module, name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest one for a wrong word."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib  # only for a wrong word

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "To serve it: `launcher run APP`."
            raise click.UsageError(f"{error.message} {hint}", ctx) from None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the main commands first, the rest under "more"; without importing any."""
        for title, names in (("Commands", FIRST), ("More", MORE)):
            with formatter.section(title):
                formatter.write_dl([(name, _HELP[name]) for name in names])


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", prog_name="launcher", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run the steps before an ASGI server once, size its pool, and become the server.

    Without a command: `run` if an application is configured, else this help.
    """
    if ctx.invoked_subcommand is not None:
        return
    if not _app_is_configured():
        click.echo(ctx.get_help())
        return
    from launcher.cli.run import run  # the whole of boot

    ctx.exit(run.main([], prog_name="launcher run", standalone_mode=True))


def _app_is_configured() -> bool:
    """Return whether LAUNCHER_APP, launcher.toml or [tool.launcher] names an application."""
    if os.environ.get("LAUNCHER_APP"):
        return True
    import tomllib  # only without a command

    for name, path in (("launcher.toml", ()), ("pyproject.toml", ("tool", "launcher"))):
        try:
            table: object = tomllib.loads(Path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return True  # `run` reads it again and says what is wrong with it
        for key in path:
            table = table.get(key, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict) and "app" in table:
            return True
    return False
