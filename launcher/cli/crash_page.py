"""How does a crash report look?

A line each in the list, a page for one. What a process has written itself (its log, the text of an exception) may hold
what steers a terminal: it is shown as `?`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.units import human_bytes, human_seconds

Report = Mapping[str, Any]
COLUMNS = ("id", "at", "kind", "verdict", "confidence", "worker", "title")
_SECOND = len("2026-11-22T13:45:01")
_LONGEST_TITLE = 120


def show_all(reports: Sequence[Report], where: str, because: str, *, as_json: bool) -> None:
    """Print the list to stdout; `where` they were looked for, and what that lacks, to stderr."""
    if because:
        sys.stderr.write(f"{printable(because)}\n")
    if as_json:
        sys.stdout.write(json.dumps(reports, indent=2) + "\n")
    elif not reports:
        sys.stdout.write(f"no crash reports {where}\n")
    else:
        from launcher.cli.tables import show  # where somebody looks

        show(f"crash reports {where}", COLUMNS, [row(report) for report in reports])


def show_one(report: Report, *, as_json: bool) -> None:
    """Print one to stdout."""
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    elif sys.stdout.isatty():
        _show_rich(report)
    else:
        parts = [f"{label}:\n" + "\n".join(f"  {line}" for line in lines) for label, lines in page(report)]
        sys.stdout.write("\n".join([printable(str(report.get("title", ""))), *parts]) + "\n")


def row(report: Report) -> tuple[str, ...]:
    """Return a report as a row of COLUMNS."""
    at = _text(report, "at")
    more = f" (and {_text(report, 'merged')} like it)" if report.get("merged") else ""
    return (
        _text(report, "id"),
        f"{at[:_SECOND]}Z" if at[_SECOND:] else at,
        _text(report, "kind"),
        _text(report, "verdict"),
        _text(report, "confidence"),
        _text(report, "pid"),
        _text(report, "title")[:_LONGEST_TITLE] + more,
    )


def page(report: Report) -> list[tuple[str, list[str]]]:
    """Return a report as headings with lines; without those of which nothing is known."""
    parts = [
        ("report", list(_report(report))),
        ("because", _texts(report, "evidence")),
        ("process", list(_process(report))),
        ("requests in flight", list(_requests(report))),
        ("memory", list(_memory(report))),
        ("last log", _texts(report, "last_log")),
        ("stacks", [printable(line) for line in str(report.get("stacks") or "").splitlines()]),
        ("versions", [" ".join(_pairs(report.get("versions")))]),
    ]
    return [(label, lines) for label, lines in parts if any(lines)]


def printable(text: str) -> str:
    """Replace what would steer the terminal."""
    return "".join(sign if sign.isprintable() else " " if sign == "\t" else "?" for sign in text)


def _report(report: Report) -> Iterator[str]:
    yield " ".join(filter(None, (_text(report, "id"), _text(report, "at"))))
    yield ", ".join(filter(None, (_text(report, "kind"), _text(report, "verdict"), _text(report, "confidence"))))
    names = ("exit_code", "app", "release", "host", "launcher_pid")
    yield ", ".join(f"{name.replace('_', ' ')} {said}" for name in names if (said := _text(report, name)))
    if report.get("restarts_in_window"):
        yield f"deaths within the window of the crash loop: {_text(report, 'restarts_in_window')}"
    if report.get("merged"):
        yield f"{_text(report, 'merged')} like it have no report of their own"


def _process(report: Report) -> Iterator[str]:
    names = ("pid", "slot", "number", "generation", "stage")
    known = [f"{name} {said}" for name in names if (said := _text(report, name))]
    age_s = _number(report, "age_s")
    age = [f"{human_seconds(round(age_s, 1))} old"] if known and age_s else []
    yield ", ".join([*known, *age])
    yield " ".join(_pairs(report.get("wait_status")))


def _requests(report: Report) -> Iterator[str]:
    for one in _entries(report, "in_flight"):
        age_s = _number(one, "age_s")
        since = f" for {age_s:.1f} s" if age_s is not None else ""
        yield f"{_text(one, 'method')} {_text(one, 'path')}{since}"
    if report.get("more_in_flight"):
        yield f"{_text(report, 'more_in_flight')} more"


def _memory(report: Report) -> Iterator[str]:
    memory = report.get("memory")
    memory = memory if isinstance(memory, Mapping) else {}
    for one in _entries(memory, "samples"):
        private, shared = _bytes(one, "private_bytes"), _bytes(one, "shared_bytes")
        yield f"{_text(one, 'age_s')} s before: {private} private, {shared} shared"
    if isinstance(group := memory.get("group"), Mapping) and group.get("usage_bytes") is not None:
        limit = f" of {_bytes(group, 'limit_bytes')}" if group.get("limit_bytes") else ""
        yield f"control group: {_bytes(group, 'usage_bytes')}{limit}"
    counters = memory.get("counters")
    for name, counts in counters.items() if isinstance(counters, Mapping) else ():
        said = " then ".join(map(str, counts)) if isinstance(counts, list) else "not to be read"
        yield printable(f"{name}: {said}")


def _show_rich(report: Report) -> None:
    from rich.console import Console  # 45 ms, for a terminal only
    from rich.padding import Padding
    from rich.text import Text

    console = Console()
    console.print(Text(printable(str(report.get("title", ""))), style="bold red"))
    for label, lines in page(report):
        console.print(Text(label, style="bold"))
        console.print(Padding(Text("\n".join(lines)), (0, 0, 0, 2)))


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return "" if value is None else printable(str(value))


def _texts(report: Report, name: str) -> list[str]:
    value = report.get(name)
    return [printable(str(one)) for one in value] if isinstance(value, list) else []


def _entries(of: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = of.get(name)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _pairs(value: object) -> list[str]:
    return [printable(f"{name} {said}") for name, said in value.items() if said] if isinstance(value, Mapping) else []


def _bytes(entry: Mapping[str, Any], name: str) -> str:
    value = _number(entry, name)
    return human_bytes(int(value)) if value is not None else "?"


def _number(entry: Mapping[str, Any], name: str) -> float | None:
    """Return what can be counted with; None for anything else, such as an integer of hundreds of digits."""
    value = entry.get(name)
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        return None
