"""What do the rows of the databases mean, beside what the image has?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.steps import Due


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one database says, beside what the image has."""

    rows: frozenset[str]
    heads: frozenset[str]
    unknown: frozenset[str]
    pending: bool


def answer(states: list[State], on_unknown_revision: str) -> Due:
    """Return what the databases' states mean together."""
    if unknown := sorted(frozenset().union(*(state.unknown for state in states))):
        text = f"the database is at {', '.join(unknown)}, which this image does not know"
        due = any(state.pending and not state.unknown for state in states)
        return Due(due=due if on_unknown_revision == "start" else True, because=text)
    pending = next((state for state in states if state.pending), None)
    shown, fresh = pending or states[0], not any(state.rows for state in states)
    if pending is None:
        return Due(due=False, because=f"the database is at {_listed(shown.rows)}", fresh=fresh)
    because = f"database at {_listed(shown.rows)}, heads {_listed(shown.heads)}"
    return Due(due=True, because=because, fresh=fresh)


def nothing_yet(missing: Path) -> Due:
    """Return the answer for a SQLite file that is not there."""
    return Due(due=True, because=f"nothing has been migrated yet: there is no file {missing}", fresh=True)


def decoded(report: bytes) -> Mapping[str, Any]:
    """Return what a child has reported; nothing at all for what is no report."""
    try:
        told = json.loads(report or b"{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def state(told: Mapping[str, Any]) -> State:
    """Return the state of one database of a report."""
    rows, heads, unknown = (frozenset(map(str, told[name])) for name in ("rows", "heads", "unknown"))
    return State(rows=rows, heads=heads, unknown=unknown, pending=bool(told["pending"]))


def _listed(revisions: frozenset[str]) -> str:
    return ", ".join(sorted(revisions)) or "no revision"
