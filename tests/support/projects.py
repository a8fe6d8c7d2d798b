"""How does a test write an application?"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class MakeProject(Protocol):
    """Writes files and returns their folder."""

    def __call__(self, files: Mapping[str, str], name: str = "project") -> Path:
        """Write each relative path with its text, common indentation removed, below a folder of this name."""


def write_project(folder: Path, files: Mapping[str, str]) -> Path:
    """Write each relative path with its text, common indentation removed, below `folder`; return `folder`."""
    for relative, text in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).removeprefix("\n"))
    return folder
