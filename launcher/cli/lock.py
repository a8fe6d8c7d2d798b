"""Who holds the lock, since when, and what has been recorded?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from launcher.cli.options import LauncherCommand, launcher_options
from launcher.cli.reporting import reporting

if TYPE_CHECKING:
    from launcher.boot.lock_view import LockView
    from launcher.locks import Record


@click.command(
    cls=LauncherCommand,
    help="Tell who holds the lock, since when, what is recorded, and how to see it with the database's own tools.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@launcher_options()
def lock(as_json: bool, server_args: tuple[str, ...] = (), **given: object) -> None:  # noqa: FBT001 - click's way
    """Print the lock, its holder and its records."""
    from launcher.boot.lock_view import view  # with the command
    from launcher.boot.watch import Watch
    from launcher.log import log
    from launcher.settings.load import load

    with reporting():
        settings = load(given, server_args=server_args)
        log.configure("console", "warning")
        with (watch := Watch()).installed():
            seen = view(settings, watch)
    if as_json:
        import json  # where it is asked for

        click.echo(json.dumps(as_document(seen), indent=2))
    else:
        _print(seen)


def as_document(seen: LockView) -> dict[str, object]:
    """Return the JSON document: lock, holder, records."""
    import dataclasses  # with the command

    chosen = seen.chosen
    about = {
        "kind": chosen.lock.kind,
        "where": chosen.lock.where,
        "because": chosen.because,
        "hosts": chosen.lock.hosts,
    }
    return {
        "lock": {**about, "warning": seen.warning, "look": chosen.lock.look},
        "holder": dataclasses.asdict(seen.holder) if seen.holder else None,
        "records": [dataclasses.asdict(record) for record in seen.records],
    }


def _print(seen: LockView) -> None:
    from launcher.boot.once import told  # with the command
    from launcher.cli.tables import show

    lock = seen.chosen.lock
    rows = [("kind", lock.kind), ("where", lock.where), ("because", seen.chosen.because), ("covers", lock.hosts)]
    rows += [("warning", seen.warning)] if seen.warning else []
    rows += [("holder", told(seen.holder) if seen.holder else "nobody"), ("to see it", lock.look)]
    show("lock", ("", ""), rows)
    columns = ("step", "for", "state", "token", "attempt", "by", "began", "ended", "exit code")
    show("records", columns, [_row(record) for record in seen.records])


def _row(record: Record) -> tuple[str, ...]:
    by = f"{record.owner.host} pid {record.owner.pid}"
    code = "" if record.exit_code is None else str(record.exit_code)
    numbers = (str(record.token), str(record.attempt))
    return (record.step, record.key, record.state, *numbers, by, record.started_at, record.finished_at or "", code)
