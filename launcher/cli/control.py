"""How is the running pool steered?

Each command waits for the outcome, as long as it takes, and exits with its code; Ctrl+C ends the waiting only.
"""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from launcher.cli.reporting import reporting
from launcher.cli.which import instance_options, which
from launcher.errors import ExitCode, LauncherError

if TYPE_CHECKING:
    from launcher.instances import Instance

_HELP_FLAGS = {"help_option_names": ["-h", "--help"]}
_LOOK_S = 0.1
_BREAKS_OFF_S = 2.0
_ACCEPTED_S = 5.0  # to be told that it will stop: as long as for any other answer that nobody has to work for
_FORBIDDEN = 403


class _Outcome(NamedTuple):
    code: int
    because: str


@click.command(help="Replace every worker, one after the other.", context_settings=_HELP_FLAGS)
@instance_options
def reload(**given: Any) -> None:
    """Wait until the last old one has gone, or the first new one has failed."""
    _carry_out(given, lambda instance: _post(instance, "/reload", {}))


@click.command(help="Set the number of workers.", context_settings=_HELP_FLAGS)
@click.argument("workers", type=click.IntRange(min=1), metavar="N")
@instance_options
def scale(workers: int, **given: Any) -> None:
    """Wait until so many are ready."""
    from launcher.scoreboard import SLOTS  # with the command

    most = SLOTS // 2  # the pool's: each worker has room for its replacement beside it
    if workers > most:
        raise click.BadParameter(f"{workers} is more than a pool can have ({most}).", param_hint="N")
    _carry_out(given, lambda instance: _post(instance, "/scale", {"workers": workers}))


@click.command(help="Replace the worker with this process id.", context_settings=_HELP_FLAGS)
@click.argument("worker", type=click.IntRange(min=1), metavar="PID")
@instance_options
def recycle(worker: int, **given: Any) -> None:
    """Wait until its successor is ready and it has gone."""
    _carry_out(given, lambda instance: _post(instance, "/recycle", {"pid": worker}))


@click.command(help="Stop the launcher and its pool; requests may finish.", context_settings=_HELP_FLAGS)
@click.option("--quick", is_flag=True, help="Requests may not finish.")
@instance_options
def stop(quick: bool, **given: Any) -> None:  # noqa: FBT001 - click passes flags by name
    """Wait until the process has gone."""
    _carry_out(given, lambda instance: _stop(instance, quick=quick))


def _carry_out(given: dict[str, Any], act: Callable[[Instance], _Outcome]) -> None:
    meant = which(given)
    with reporting():
        instance = meant.find()
        try:
            code, because = act(instance)
        except KeyboardInterrupt:
            sys.stderr.write("not waiting any more; what was asked for goes on\n")
            raise
    if because:
        sys.stderr.write(f"{because if because.isprintable() else ascii(because)}\n")
    sys.exit(code)


def _post(instance: Instance, target: str, facts: dict[str, Any], wait_s: float | None = None) -> _Outcome:
    """Return the outcome that the pool tells; raise LauncherError when it cannot be known.

    `wait_s`: how long in all; None: as long as it takes.
    """
    import json  # with the command

    from launcher.instances import connect
    from launcher.instances.asking import ask

    try:
        with connect(instance.address) as client:
            reply = ask(client, target, body=json.dumps(facts).encode(), wait_s=wait_s)
    except OSError as error:
        cure = "`launcher status` tells whether it was done all the same"
        raise LauncherError(f"the launcher {instance.pid} {error.strerror or error}", cure=cure) from error
    if reply.status == _FORBIDDEN:
        raise LauncherError(f"the launcher {instance.pid} belongs to another user")
    try:
        told = json.loads(reply.body)
        return _Outcome(int(told["code"]), str(told["because"]))
    except (ValueError, KeyError, TypeError):
        text = reply.body.decode(errors="replace").strip()
        raise LauncherError(f"the launcher {instance.pid} answered {reply.status}: {text}") from None


def _stop(instance: Instance, *, quick: bool) -> _Outcome:
    """Ask it to stop and wait until its process has gone, whatever becomes of the answer meanwhile."""
    gone = _end_of(instance)
    try:
        outcome = _post(instance, "/stop", {"quick": quick}, _ACCEPTED_S)
    except LauncherError:
        if not gone(_BREAKS_OFF_S):  # it may have been quicker than its answer
            raise
        return _Outcome(ExitCode.OK, "")
    if outcome.code != ExitCode.OK and not gone(0):
        return outcome
    while not gone(_LOOK_S):
        pass
    return _Outcome(ExitCode.OK, "")


def _end_of(instance: Instance) -> Callable[[float], bool]:
    """Return what waits so many seconds and tells whether the process has gone.

    By a descriptor of it (Linux), taken before anything is asked, so that no other process can get its number; without
    one, gone is when nobody listens to its socket.
    """
    import os  # with the command

    try:
        process = os.pidfd_open(instance.pid)
    except (AttributeError, OSError):
        return lambda wait_s: _is_deaf(instance, wait_s)
    return lambda wait_s: bool(select.select([process], [], [], wait_s)[0])


def _is_deaf(instance: Instance, wait_s: float) -> bool:
    from launcher.instances import connect  # with the command

    time.sleep(wait_s)
    try:
        connect(instance.address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        return False
    return False
