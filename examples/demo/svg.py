"""How does a recording get into a page? As one SVG that plays itself.

    python svg.py FILE.cast FILE.svg

Each run of characters is written once, with the times at which it is to be seen. A reader who asked his system for less
motion sees the last frame.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from cast import Frame, read_cast
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

CELL, LINE, SIZE, MARGIN = 8.4, 19, 14, 14  # in pixels
LAST_S = 5.0  # how long the last frame stays
# The sixteen colours of a terminal by number, those that the picture has.
COLOURS = {
    2: "#3fb950",
    3: "#d29922",
    8: "#6e7681",
    9: "#ff7b72",
    10: "#56d364",
    13: "#d2a8ff",
    14: "#56d4dd",
}
FONT = 'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"'
DEFAULT_COLOUR = "#c9d1d9"
_CONSOLE = Console()

Shown = tuple[tuple[float, float], ...]  # from, until


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """Characters that stand together in one colour."""

    row: int
    column: int
    text: str
    colour: str
    bold: bool

    def element(self, classes: str) -> str:
        """Return the SVG element; its width is given, so that any monospaced font fits."""
        bold = ' font-weight="700"' if self.bold else ""
        x, y = MARGIN + self.column * CELL, MARGIN + self.row * LINE + SIZE
        width = len(self.text) * CELL
        return (
            f'<text x="{x:.1f}" y="{y}" fill="{self.colour}" textLength="{width:.1f}"{bold}{classes}>'
            f"{escape(self.text)}</text>"
        )


def runs(frame: Frame) -> Iterator[Run]:
    """Yield what is to be seen in a frame, blanks left out."""
    for row, line in enumerate(frame.text.split("\n")):
        text = Text.from_ansi(line)
        styles = [_style(text, column) for column in range(len(text.plain))]
        column = 0
        for style, group in groupby(styles):
            length = len(list(group))
            # Two blanks part what changes at different times.
            for found in re.finditer(r"\S+(?: \S+)*", text.plain[column : column + length]):
                yield Run(row, column + found.start(), found.group(), *style)
            column += length


def _style(text: Text, column: int) -> tuple[str, bool]:
    style = text.get_style_at_offset(_CONSOLE, column)
    number = style.color.number if style.color is not None else None
    return COLOURS.get(number or 0, DEFAULT_COLOUR), bool(style.bold)


def shown(frames: list[Frame], end_s: float) -> dict[Run, Shown]:
    """Return for each run when it is to be seen; neighbouring times are one."""
    times: defaultdict[Run, list[tuple[float, float]]] = defaultdict(list)
    for frame, until_s in zip(frames, [*(frame.at_s for frame in frames[1:]), end_s], strict=True):
        for run in runs(frame):
            known = times[run]
            if known and known[-1][1] == frame.at_s:
                known[-1] = (known[-1][0], until_s)
            else:
                known.append((frame.at_s, until_s))
    return {run: tuple(spans) for run, spans in times.items()}


def keyframes(name: str, spans: Shown, end_s: float) -> str:
    """Return the CSS that shows something in these spans and not between them."""
    steps = {0.0: 0}
    for begin_s, until_s in spans:
        steps[begin_s] = 1
        if until_s < end_s:
            steps[until_s] = 0
    frames = "".join(f"{at_s / end_s:.2%}{{opacity:{value}}}" for at_s, value in steps.items())
    return f"@keyframes {name}{{{frames}}}.{name}{{animation-name:{name}}}"


def draw(width: int, height: int, frames: list[Frame]) -> str:
    """Return the SVG."""
    start_s = frames[0].at_s
    frames = [Frame(frame.at_s - start_s, frame.text) for frame in frames]
    end_s = frames[-1].at_s + LAST_S
    seen = shown(frames, end_s)
    names = {spans: f"k{number}" for number, spans in enumerate(sorted(set(seen.values()) - {((0.0, end_s),)}))}
    elements = []
    for run, spans in sorted(seen.items()):
        last = " z" if spans[-1][1] == end_s else ""
        elements.append(run.element(f' class="a {names[spans]}{last}"' if spans in names else ""))
    size = f"{2 * MARGIN + width * CELL:.0f} {2 * MARGIN + height * LINE}"
    rules = [
        f".a{{opacity:0;animation:{end_s:.2f}s step-end infinite}}",
        *(keyframes(name, spans, end_s) for spans, name in names.items()),
        "@media (prefers-reduced-motion){.a{animation:none}.z{opacity:1}}",
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {FONT} font-size="{SIZE}">',
            f"<style>{''.join(rules)}</style>",
            '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>',
            *elements,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(*read_cast(Path(sys.argv[1]))), encoding="utf-8")
