"""What do the files of other kinds of host look like?

Each file in `hosts/` is one recorded host: `### /path` and below it what that file says.
"""

from __future__ import annotations

from pathlib import Path

_HOSTS = Path(__file__).parent / "hosts"


def recorded(name: str, root: Path) -> Path:
    """Write the recorded host `name` below `root` and return it."""
    for entry in (_HOSTS / f"{name}.tree").read_text(encoding="utf-8").split("### ")[1:]:
        path, _, content = entry.partition("\n")
        file = root / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return root
