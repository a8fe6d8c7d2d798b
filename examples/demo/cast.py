"""How is the picture kept? As an asciicast, version 2: a header, then one whole frame a line.

The format: https://docs.asciinema.org/manual/asciicast/v2/
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(frozen=True, slots=True)
class Frame:
    """`text`: the lines with their colours as ANSI escapes, from `at_s` seconds on."""

    at_s: float
    text: str


class Recorder:
    """Collects frames that differ."""

    def __init__(self, width: int) -> None:
        """Render for a terminal of sixteen colours and this width."""
        self.width = width
        self.frames: list[Frame] = []

    def add(self, at_s: float, picture: RenderableType) -> None:
        """Keep the picture if it is not the one before."""
        output = io.StringIO()
        console = Console(
            file=output,
            width=self.width,
            force_terminal=True,
            color_system="standard",
            legacy_windows=False,
            _environ={},
        )
        console.print(picture)
        text = output.getvalue().rstrip("\n")
        if not self.frames or self.frames[-1].text != text:
            self.frames.append(Frame(round(at_s, 2), text))

    def write(self, path: Path, title: str) -> None:
        """Write the asciicast."""
        height = max(frame.text.count("\n") for frame in self.frames) + 1
        lines = [json.dumps({"version": 2, "width": self.width, "height": height, "title": title})]
        for frame in self.frames:
            screen = frame.text.replace("\n", f"{REST_OF_LINE}\r\n")
            lines.append(json.dumps([frame.at_s, "o", f"{HOME}{screen}{REST_OF_LINE}{REST_OF_SCREEN}"]))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_cast(path: Path) -> tuple[int, int, list[Frame]]:
    """Return width, height and frames of what `Recorder` wrote."""
    header, *events = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    frames = [Frame(at_s, _screen(data)) for at_s, kind, data in events if kind == "o"]
    return header["width"], header["height"], frames


def _screen(data: str) -> str:
    for escape in (HOME, REST_OF_LINE, REST_OF_SCREEN):
        data = data.replace(escape, "")
    return data.replace("\r\n", "\n")
