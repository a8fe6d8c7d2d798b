"""How does the running pool look to a person?

`summary`, `worker_rows` and `bar` make texts of the document of `status --json`; the rest puts them on a terminal, once
or every second. Keys that another version leaves out are shown as nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launcher.units import human_bytes

if TYPE_CHECKING:
    from rich.console import Group

Document = Mapping[str, Any]

EVERY_S = 1.0
COLUMNS = (
    "slot",
    "pid",
    "stage",
    "age",
    "gen",
    "private",
    "shared",
    "cpu",
    "lag",
    "requests",
    "in flight",
    "restarts",
)
_BAR = 40
_DAY_S, _HOUR_S, _MINUTE_S = 86400, 3600, 60
_LONG_STALL = 1.0  # percent, from which on it is worth a word
_LONG_S = 1.0  # from which on a request in flight is worth its path
_NARROW = ("stage", "in flight")  # texts; numbers stand on the right


def summary(now: Document) -> list[str]:
    """Return one line of what it is and how it is, one of what it waits for while it boots, one when memory is short.

    And what plugins find.
    """
    parts = [
        f"{now.get('app') or 'launcher'} (pid {now.get('pid', '?')})",
        str(now.get("server") or ""),
        str(now.get("state", "")),
        f"{now.get('ready', 0)} of {now.get('wanted', 0)} ready",
        f"{now.get('restarts', 0)} restarts",
        f"up {_age(now['uptime_s'])}" if "uptime_s" in now else "",
    ]
    boot = now.get("boot") or {}
    what = [f"step {boot['step']}"] if boot.get("step") else []
    what += [f"waiting for {boot['waiting_for']}"] if boot.get("waiting_for") else []
    since = [f"for {_age(boot['for_s'])}"] if what and boot.get("for_s") else []
    lines = [
        " · ".join(part for part in parts if part),
        ", ".join(what + since),
        short_of_memory(now.get("memory") or {}),
    ]
    lines += _failing(now)
    return [_printable(line) for line in lines if line]


def short_of_memory(memory: Document) -> str:
    """Return what has to be known when the limit or the budget is reached, or workers were given up; else nothing."""
    given_up, free = int(_number(memory, "given_up")), _number(memory, "free_bytes")
    pressed, exceeds = bool(memory.get("pressed")), bool(memory.get("over_budget"))
    if not (pressed or given_up or exceeds):
        return ""
    limit = _number(memory, "room_limit_bytes") or _number(memory, "limit_bytes")
    needed = human_bytes(int(_number(memory, "needed_bytes")))
    parts = [f"memory is short: {needed} of {human_bytes(int(limit))} cannot be given back"] if pressed else []
    if exceeds:
        pool, budget = (human_bytes(int(_number(memory, name))) for name in ("pool_bytes", "budget_bytes"))
        parts.append(f"the pool has {pool}, and --memory allows it {budget}")
    if given_up:
        parts.append(f"{given_up} worker{'' if given_up == 1 else 's'} given up for memory")
    if "free_bytes" in memory:
        parts.append(f"{human_bytes(int(free))} left" if free >= 0 else f"{human_bytes(int(-free))} above the limit")
    waited = _number(memory.get("stalls") or {}, "some_avg10")
    parts += [f"waited for memory {waited:.0f}% of the time"] if waited >= _LONG_STALL else []
    return ", ".join(parts)


def _failing(now: Document) -> list[str]:
    """Return a line for each check of a plugin that fails, and for each plugin that is not used."""
    plugins = now.get("plugins") or {}
    checks = [one for one in plugins.get("checks") or () if not one.get("ok")]
    broken = plugins.get("broken") or {}
    return [
        *(f"check {one.get('name')} failed: {one.get('detail') or 'no reason was given'}" for one in checks),
        *(f"{who}: {because}" for who, because in broken.items()),
    ]


def worker_rows(now: Document, before: Document | None = None, passed_s: float = 0.0) -> list[tuple[str, ...]]:
    """Return a row of COLUMNS for each worker, then for the server and the monitor.

    cpu: seconds so far; with `before`, the document of `passed_s` ago, the share of one CPU since then.
    """
    earlier = {worker.get("pid"): worker for worker in _workers(before or {})}
    rows = [_worker_row(worker, earlier.get(worker.get("pid")), passed_s) for worker in _workers(now)]
    known = {worker.get("pid") for worker in _workers(now)}  # one uvicorn is server and worker
    for name, label in (
        ("arbiter", "launcher" if now.get("state") == "booting" else "server"),
        ("monitor", "monitor"),
        ("plugin_host", "plugins"),
    ):
        process = now.get(name)
        pid = now.get("pid") if name == "arbiter" else (process or {}).get("pid")
        if process and pid not in known:
            cpu = _cpu(process, (before or {}).get(name), passed_s)
            rows.append((label, str(pid), "", "", "", *_memory(process), cpu, "", "", "", ""))
    return rows


def without_empty(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows without the columns in which nobody has anything."""
    kept = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]


def bar(memory: Document, width: int = _BAR) -> tuple[str, str, float]:
    """Return the budget as a bar and in words, and the share that is used (0 when no budget is known)."""
    used, budget, limit = (_number(memory, f"{name}_bytes") for name in ("used", "budget", "limit"))
    if not budget:
        return "", f"memory: {human_bytes(int(used))}, no budget" if used else "", 0.0
    share = used / budget
    full = min(width, round(share * width))
    of = f", limit {human_bytes(int(limit))}" if limit else ""
    source = f" ({_printable(str(memory['source']))})" if memory.get("source") else ""
    words = f"{human_bytes(int(used))} of {human_bytes(int(budget))} budget, {share:.0%}{of}{source}"
    return "█" * full + "░" * (width - full), words, share


def show_once(now: Document) -> None:
    """Print it to stdout: coloured on a terminal, else in plain columns."""
    if sys.stdout.isatty():
        from rich.console import Console  # 45 ms, for a terminal only

        Console().print(_rendered(now))
        return
    from launcher.cli.tables import show  # where a program reads

    _, words, _ = bar(now.get("memory") or {})
    sys.stdout.write("\n".join([*summary(now), *([words] if words else [])]) + "\n\n")
    show("workers", *without_empty(COLUMNS, worker_rows(now)))


def watch(fetch: Callable[[], Document]) -> None:
    """Show it every second until q or Ctrl+C; without a terminal print it again and again.

    Raises what `fetch` raises. The last view stays on the terminal.
    """
    import contextlib  # with the option

    from launcher.cli.keys import Keys

    if not sys.stdout.isatty():
        with Keys() as keys:
            while True:
                show_once(fetch())
                sys.stdout.flush()
                if keys.quit_within(EVERY_S):
                    return
    with contextlib.suppress(KeyboardInterrupt):
        _live(fetch)


def _live(fetch: Callable[[], Document]) -> None:
    from rich.console import Console  # with the option
    from rich.live import Live

    from launcher.cli.keys import Keys

    console, now, at = Console(), fetch(), time.monotonic()
    shown = _rendered(now)
    try:
        with Keys() as keys, Live(shown, console=console, screen=True, auto_refresh=False) as live:
            while not keys.quit_within(EVERY_S):
                before, now, passed_s = now, fetch(), time.monotonic() - at
                at += passed_s
                shown = _rendered(now, before, passed_s)
                live.update(shown, refresh=True)
    finally:
        console.print(shown)


def _rendered(now: Document, before: Document | None = None, passed_s: float = 0.0) -> Group:
    from rich import box  # where a terminal is
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head, *rest = summary(now)
    table = Table(box=box.SIMPLE_HEAD)
    columns, rows = without_empty(COLUMNS, worker_rows(now, before, passed_s))
    for column in columns:
        table.add_column(column, justify="left" if column in _NARROW else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_style(column, cell)) for column, cell in zip(columns, row, strict=True)))
    drawn, words, share = bar(now.get("memory") or {})
    colour = "green" if share < 0.8 else "yellow" if share <= 1 else "red"  # noqa: PLR2004 - of the budget
    lines = [Text(head, style="bold"), *(Text(line, style="yellow") for line in rest)]
    return Group(*lines, table, Text.assemble((drawn, colour), "  " if drawn else "", words))


def _style(column: str, cell: str) -> str:
    if column != "stage" or not cell:
        return ""
    return "green" if cell == "ready" else "yellow"


def _worker_row(worker: Document, earlier: Document | None, passed_s: float) -> tuple[str, ...]:
    stage = str(worker.get("stage", "")) + (", leaving" if worker.get("asked_to_leave") else "")
    return (
        str(worker.get("slot", "")),
        str(worker.get("pid", "")),
        _printable(stage),
        _age(worker["age_s"]) if "age_s" in worker else "",
        str(worker.get("generation", "")),
        *_memory(worker),
        _cpu(worker, earlier, passed_s),
        f"{_number(worker, 'loop_lag_s') * 1000:.0f} ms" if "loop_lag_s" in worker else "",
        str(worker.get("requests", "")),
        _in_flight(worker.get("in_flight") or ()),
        str(worker.get("restarts", "")),
    )


def _workers(document: Document) -> Sequence[Document]:
    return document.get("workers") or ()


def _memory(process: Document) -> tuple[str, str]:
    names = ("private_bytes", "shared_bytes")
    private, shared = (human_bytes(int(process[name])) if name in process else "" for name in names)
    return private, shared


def _cpu(process: Document, earlier: Document | None, passed_s: float) -> str:
    if "cpu_s" not in process:
        return ""
    if earlier is None or passed_s <= 0:
        return f"{_number(process, 'cpu_s'):.1f} s"
    return f"{max(0.0, _number(process, 'cpu_s') - _number(earlier, 'cpu_s')) / passed_s:.0%}"


def _in_flight(requests: Sequence[Document]) -> str:
    """Return how many, and the oldest when it is old."""
    if not requests:
        return "0"
    oldest = max(requests, key=lambda request: _number(request, "age_s"))
    if _number(oldest, "age_s") < _LONG_S:
        return str(len(requests))
    what = f"{oldest.get('method', '')} {oldest.get('path', '')}"
    return f"{len(requests)}: {_age(oldest['age_s'])} {_printable(what)}"


def _age(seconds: float) -> str:
    """Return `12s`, `3m 05s`, `2h 10m`, `4d 3h`."""
    whole = int(seconds)
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m {whole % _MINUTE_S:02}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h {whole % _HOUR_S // _MINUTE_S:02}m"
    return f"{whole // _DAY_S}d {whole % _DAY_S // _HOUR_S}h"


def _number(document: Document, name: str) -> float:
    value = document.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _printable(text: str) -> str:
    """Replace what would steer the terminal: a path is whatever a client has sent."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
