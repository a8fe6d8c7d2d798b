"""How does the demo look, at one moment?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet import Fleet, State
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from story import Story, Verdict

WIDTH = 84
TOLD = 7
LOOKS = {
    State.STARTING: ("·", "bright_black"),
    State.WAITING: ("○", "yellow"),
    State.HOLDER: ("◆", "bright_cyan"),
    State.SUCCESSOR: ("◆", "bright_cyan"),
    State.MIGRATING: ("▶", "bold bright_cyan"),
    State.MIGRATED: ("◆", "bright_cyan"),
    State.SKIPPED: ("◌", "green"),
    State.SERVING: ("●", "bright_green"),
    State.KILLED: ("✝", "bold bright_magenta"),
    State.FAILED: ("✖", "bright_red"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """What is to be shown. `verdict`: None until it is over."""

    story: Story
    database: str
    at_s: float
    verdict: Verdict | None = None

    def __rich__(self) -> RenderableType:
        """Return the whole picture, WIDTH cells wide."""
        count = len(self.story.launchers.replicas)
        sides = Table.grid(expand=True)
        sides.add_column(ratio=1)
        sides.add_column(ratio=1)
        sides.add_row(_side(self.story.launchers, count), _side(self.story.scripts, count))
        head = Text(f" {count} replicas start at once on an empty database ({self.database})")
        head.append(f"{self.at_s:.0f} s".rjust(WIDTH - 1 - head.cell_len), "bright_black")
        return Group(head, sides, *self._told(), *self._end())

    def _told(self) -> list[Text]:
        told = self.story.told[-TOLD:]
        lines = [Text(f"{at_s:5.1f} s  {sentence}", "default") for at_s, sentence in told]
        return [_cut(line) for line in lines] + [Text("")] * (TOLD - len(told))

    def _end(self) -> list[Text]:
        if self.verdict is None:
            return [Text("")] * 4
        words = "bold bright_green" if self.verdict.kept else "bold bright_red"
        first, second = self.verdict.lines
        lines = [Text(f" {line}", words if line is first else "bold bright_red") for line in (first, second)]
        return [Text(""), *lines, Text("")]


def _side(fleet: Fleet, count: int) -> Panel:
    cells = Table.grid(expand=True)
    cells.add_column(ratio=1)
    cells.add_column(ratio=1)
    half = math.ceil(count / 2)
    for row in range(half):
        cells.add_row(*(_cell(replica.number, replica.state) for replica in fleet.replicas[row::half]))
    return Panel(Group(cells, Text(""), _counts(fleet)), title=fleet.way.title, border_style="bright_black")


def _cell(number: int, state: State) -> Text:
    sign, style = LOOKS[state]
    return Text.assemble((f"{number:02} ", "bright_black"), (f"{sign} {state}", style))


def _counts(fleet: Fleet) -> Text:
    shown = {"serving": State.SERVING, "failed": State.FAILED, "killed": State.KILLED}
    counts = ((word, fleet.count(state), LOOKS[state][1]) for word, state in shown.items())
    parts = [(f"{number} {word}  ", style if number else "bright_black") for word, number, style in counts]
    return Text.assemble(*parts)


def _cut(line: Text) -> Text:
    line.truncate(WIDTH - 1, overflow="ellipsis")
    return line
