"""Which running launcher does a command mean?"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from launcher.instances import Instance

T = TypeVar("T")


class Which(NamedTuple):
    """What was given to tell it apart."""

    pid: int | None
    address: str | None
    runtime_dir: str | None

    def find(self) -> Instance:
        """Return the one that is meant; raise NothingRuns or UsageError."""
        from launcher.instances import find  # with the command

        return find(os.environ, self.runtime_dir, self.pid, self.address)


def instance_options(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command --pid, --socket and --runtime-dir; `which(given)` understands them."""
    options: tuple[Callable[[Any], Any], ...] = (
        click.option("--pid", type=click.IntRange(min=1), metavar="PID", help="The launcher with this process id."),
        click.option("--socket", metavar="ADDRESS", help="The launcher whose management socket this is."),
        click.option("--runtime-dir", type=click.Path(), metavar="PATH", help="Look here only."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def which(given: dict[str, Any]) -> Which:
    """Return what was given; raise click's UsageError for more than one thing."""
    if given["socket"] and (given["pid"] or given["runtime_dir"]):
        raise click.UsageError("--socket names one launcher already: leave --pid and --runtime-dir out.")
    return Which(given["pid"], given["socket"], given["runtime_dir"])
