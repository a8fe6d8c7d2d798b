"""Why did it die?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from launcher.cli.reporting import reporting
from launcher.cli.which import instance_options, which
from launcher.errors import LauncherError, UsageError

if TYPE_CHECKING:
    from launcher.instances import Instance

_OK = 200
Report = dict[str, Any]


class Found(NamedTuple):
    """The reports, the newest first; where they were looked for; what else is to be said of that."""

    reports: list[Report]
    where: str
    because: str


@click.command(
    help="Show the last crash reports, or the one whose ID begins so.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("number", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--crash-dir", type=click.Path(path_type=Path), metavar="PATH", help="Look here only.")
@instance_options
def crashes(number: str | None, as_json: bool, crash_dir: Path | None, **given: Any) -> None:  # noqa: FBT001 - click's way
    """Print what is in the folder of reports, and what a launcher that runs has in memory."""
    from launcher.cli import crash_page  # with the command

    meant = which(given)
    with reporting():
        named = any(part is not None for part in meant)
        if crash_dir is not None and named:
            raise UsageError("--crash-dir is a place to look at: leave --pid, --socket and --runtime-dir out")
        found = _in_folder(crash_dir) if crash_dir is not None else _here(given, named=named)
        if number is None:
            crash_page.show_all(found.reports, found.where, found.because, as_json=as_json)
            return
        meant_one = next((one for one in found.reports if number and str(one.get("id", "")).startswith(number)), None)
        if meant_one is None:
            raise UsageError(f"no report {number!r} {found.where}", cure="`launcher crashes` lists them")
        crash_page.show_one(meant_one, as_json=as_json)


def _in_folder(folder: Path) -> Found:
    if not folder.is_dir():
        raise UsageError(f"--crash-dir: {folder} is no folder")
    return _read(folder)


def _read(folder: Path | None, because: str = "") -> Found:
    from launcher.incidents.store import Store  # with the command

    if folder is None:
        return Found([], "here", because)
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        because = f"{folder} cannot be read"
    return Found(Store(folder).all(), f"in {folder}", because)


def _here(given: dict[str, Any], *, named: bool) -> Found:
    """Look at the folder of the launcher that runs here, else where one would keep reports.

    A folder that the settings name comes before that of a launcher that happens to run here.
    """
    configured = None if named else _configured()
    instance = _running(given, named=named)
    listed = _asked(instance, "/crashes", must=named) if instance is not None else None
    elsewhere = configured is not None and listed is not None and listed.get("folder") not in {"", str(configured)}
    if instance is None or listed is None or elsewhere:
        return _usual(configured)
    found = _read(Path(listed["folder"]) if listed.get("folder") else None, str(listed.get("because") or ""))
    known = {report["id"] for report in found.reports}
    said = listed.get("crashes")
    told = [one.get("id") for one in (said if isinstance(said, list) else []) if isinstance(one, dict)]
    others = [_asked(instance, f"/crashes/{number}") for number in told if number not in known]
    reports = [*found.reports, *(report for report in others if report is not None)]
    reports.sort(key=lambda report: str(report.get("id", "")), reverse=True)
    where = found.where if listed.get("folder") else f"in the memory of the launcher {instance.pid}"
    return Found(reports, where, found.because)


def _running(given: dict[str, Any], *, named: bool) -> Instance | None:
    """Return the launcher that is meant; None: none runs, or which one does not matter, as nobody was named."""
    try:
        return which(given).find()
    except LauncherError:
        if named:
            raise
        return None


def _asked(instance: Instance, target: str, *, must: bool = False) -> Report | None:
    """Return what it answers; None when it does not (it has just ended, another user's, an older one)."""
    import json  # with the command

    from launcher.instances.asking import get

    try:
        reply = get(instance.address, target)
        told = json.loads(reply.body) if reply.status == _OK else None
    except (OSError, ValueError):
        told = None
    if must and not isinstance(told, dict):
        raise LauncherError(f"the launcher {instance.pid} does not tell its reports")
    return told if isinstance(told, dict) else None


def _configured() -> Path | None:
    """Return the folder that the settings name here."""
    from launcher.settings.load import load  # with the command

    try:
        folder = load({}).incidents.crash_dir
    except LauncherError as error:
        sys.stderr.write(f"the settings were not read: {error.message}\n")
        return None
    return folder.absolute() if folder is not None else None


def _usual(configured: Path | None) -> Found:
    """Look at the folder that `launcher run` would take here."""
    from launcher.incidents.place import crash_folder  # with the command

    return _read(configured) if configured is not None else _read(*crash_folder(os.environ))
