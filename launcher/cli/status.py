"""What does the running pool do?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from launcher.cli.reporting import reporting
from launcher.cli.which import instance_options, which
from launcher.errors import LauncherError

if TYPE_CHECKING:
    from launcher.instances import Instance

_FORBIDDEN, _OK = 403, 200


@click.command(
    help="Show the running pool, once or as a live table.", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; with --watch one a second.")
@click.option("--watch", is_flag=True, help="Look again every second; q or Ctrl+C ends it.")
@instance_options
def status(as_json: bool, watch: bool, **given: Any) -> None:  # noqa: FBT001 - click passes flags by name
    """Print what the monitor says."""
    from launcher.cli import status_table  # with the command

    meant = which(given)
    with reporting():
        instance = meant.find()
        if watch and not as_json:
            status_table.watch(lambda: _document(instance))
            return
        if not as_json:
            status_table.show_once(_document(instance))
            return
        click.echo(_said(instance))
        while watch:
            import time  # with the option

            time.sleep(status_table.EVERY_S)
            click.echo(_said(instance))


def _said(instance: Instance) -> str:
    """Return the document as the monitor wrote it; raise LauncherError when there is none."""
    from launcher.instances import NothingRuns
    from launcher.instances.asking import get  # with the command

    try:
        reply = get(instance.address, "/status")
    except (ConnectionRefusedError, FileNotFoundError):
        raise NothingRuns(f"the launcher {instance.pid} has ended") from None
    except OSError as error:
        raise LauncherError(f"the launcher {instance.pid} does not answer: {error.strerror or error}") from None
    if reply.status == _FORBIDDEN:
        raise LauncherError(f"the launcher {instance.pid} belongs to another user")
    text = reply.body.decode(errors="replace").rstrip("\n")
    if reply.status != _OK:
        raise LauncherError(f"the launcher {instance.pid} answered {reply.status}: {text}")
    return text


def _document(instance: Instance) -> dict[str, Any]:
    import json  # with the command

    try:
        document = json.loads(_said(instance))
    except ValueError as error:
        raise LauncherError(f"the launcher {instance.pid} answered what is no JSON: {error}") from None
    return document if isinstance(document, dict) else {}
