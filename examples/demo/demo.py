"""Does a fleet that starts at once migrate once, even when the one that migrates is killed? And without the launcher?

    python demo.py [--replicas 20] [--database auto|postgresql|sqlite] [--record FILE.cast] [--lines]

On the left launchers, on the right the entrypoint script that everybody writes, each side with an empty database of
its own. The launcher that migrates is killed by `kill -9` half way. Exit code 0 only when it was seen that one
migration was finished, never two at a time, that each launcher that was not killed serves, and that scripts failed.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

from cast import Recorder
from databases import Database, count_orders, database
from fleet import SCRIPT_WAY, Fleet, State, launcher_way
from picture import WIDTH, Moment
from rich.console import Console
from rich.live import Live
from story import Story, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_S = 0.1
LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ROWS = 40  # what the migration writes


class Screen(Protocol):
    """Where the picture goes."""

    def show(self, moment: Moment) -> None:
        """Show it."""


class Terminal:
    """A picture that is drawn over itself."""

    def __init__(self, live: Live) -> None:
        """Draw into a display that has been started."""
        self._live = live

    def show(self, moment: Moment) -> None:
        """Draw it over the one before."""
        self._live.update(moment, refresh=True)


class Lines:
    """For what is no terminal: a line for each thing that happens."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._said = 0

    def show(self, moment: Moment) -> None:
        """Write what is new."""
        news = moment.story.told[self._said :]
        self._said += len(news)
        lines = [f"{at_s:5.1f} s  {sentence}" for at_s, sentence in news]
        if moment.verdict is not None:
            lines += moment.verdict.lines
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


@contextlib.contextmanager
def screen(*, lines: bool) -> Iterator[Screen]:
    """Give the terminal if there is one that is wide enough."""
    console = Console()
    if lines or not console.is_terminal or console.width < WIDTH:
        yield Lines()
        return
    with Live(console=Console(width=WIDTH), auto_refresh=False) as live:
        yield Terminal(live)


def play(options: argparse.Namespace, given: Database, folder: Path) -> Verdict:
    """Start both sides, watch until nothing more can happen; return what was seen."""
    ways = (launcher_way(options.lock, options.lock_expiry), SCRIPT_WAY)
    launchers, scripts = (
        Fleet(way, folder / side, url, options.migration)
        for way, side, url in zip(ways, ("launcher", "script"), given.urls, strict=True)
    )
    recorder = Recorder(WIDTH)
    with contextlib.ExitStack() as ends, screen(lines=options.lines) as shown:
        for fleet in (launchers, scripts):
            fleet.prepare(options.replicas)
            ends.callback(fleet.end)
        ends.callback(_be_deaf)
        story = Story(launchers, scripts)
        for moment in moments(story, given, options):
            shown.show(moment)
            recorder.add(moment.at_s, moment)
        verdict = judge(story, rows_right=_rows_right(given.urls[0], launchers))
        last = replace(moment, verdict=verdict)
        shown.show(last)
    recorder.add(last.at_s, last)
    if options.record:
        recorder.write(options.record, "launcher run, and the script that it replaces")
    if not verdict.kept:
        tell_failures(launchers)
    return verdict


def moments(story: Story, given: Database, options: argparse.Namespace) -> Iterator[Moment]:
    """Start the launchers, and the scripts when a launcher migrates: two cores are few for both; yield what is seen."""
    ports = free_ports(2 * options.replicas)
    started = time.monotonic()
    story.launchers.start(ports[::2])
    while True:
        at_s = time.monotonic() - started
        story.follow(at_s)
        yield Moment(story, given.name, at_s)
        if story.over or at_s > options.timeout:
            return
        if not story.scripts.replicas and (story.migration_begun or story.launchers.settled):
            story.scripts.start(ports[1::2])
        time.sleep(LOOK_S)


def _rows_right(url: str, launchers: Fleet) -> bool:
    """Tell whether the table has what one migration writes; without a server on it nothing is asked."""
    return launchers.count(State.SERVING) > 0 and count_orders(url) == ROWS


def tell_failures(launchers: Fleet) -> None:
    """Write the end of the logs that a person needs to see when the claim was not kept."""
    for replica in launchers.replicas:
        if replica.state not in {State.SERVING, State.KILLED}:
            end = replica.log.read_text(errors="replace").splitlines()[-6:]
            sys.stderr.write(
                f"-- launcher {replica.number:02}: {replica.state}\n" + "".join(f"{line}\n" for line in end)
            )


def free_ports(count: int) -> list[int]:
    """Return TCP ports on which nobody listens now, none twice."""
    with contextlib.ExitStack() as open_until_all_are_known:
        sockets = [open_until_all_are_known.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="twenty launchers and twenty scripts on an empty database")
    parser.add_argument("--replicas", type=int, default=20, help="of each side (20)")
    parser.add_argument("--database", choices=["auto", "postgresql", "sqlite"], default="auto")
    parser.add_argument("--migration", type=float, default=2.0, metavar="SECONDS", help="how long it takes (2)")
    parser.add_argument("--lock", default="auto", help="as for `launcher run` (auto)")
    parser.add_argument("--lock-expiry", default="7s", help="as for `launcher run` (7s, the least)")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="give up then (120)")
    parser.add_argument("--record", type=Path, metavar="FILE.cast", help="keep it as an asciicast")
    parser.add_argument("--lines", action="store_true", help="no picture, also on a terminal")
    return parser.parse_args()


def main() -> int:
    """Play it; return the exit code."""
    options = arguments()
    for signum in LEAVING:
        signal.signal(signum, _leave)
    try:
        with tempfile.TemporaryDirectory(prefix="launcher-demo-") as folder, database(options.database) as given:
            return 0 if play(options, given, Path(folder)).kept else 1
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _leave(signum: int, _frame: object) -> NoReturn:
    _be_deaf()
    sys.exit(128 + signum)


def _be_deaf() -> None:
    """Let nobody who is impatient interrupt the ending of what was started."""
    for signum in LEAVING:
        signal.signal(signum, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
