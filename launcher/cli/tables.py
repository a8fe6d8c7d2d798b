"""How does a table look on this stdout?

With rich where a person looks, in plain columns where a program reads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from launcher.redact import redact

Row = Sequence[str]


def show(title: str, columns: Row, rows: Sequence[Row]) -> None:
    """Print one table to stdout, passwords masked."""
    masked = [[redact(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich(title, columns, masked)
    else:
        _plain(title, columns, masked)


def _rich(title: str, columns: Row, rows: Sequence[Row]) -> None:
    from rich import box  # 45 ms, for a terminal only
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, show_header=bool(any(columns)))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def _plain(title: str, columns: Row, rows: Sequence[Row]) -> None:
    head = [list(columns)] if any(columns) else []
    widths = [max((len(row[i]) for row in [*head, *rows]), default=0) for i in range(len(columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [*head, *rows]
    ]
    sys.stdout.write("\n".join([f"{title}:", *(f"  {line}" for line in lines)]) + "\n\n")
