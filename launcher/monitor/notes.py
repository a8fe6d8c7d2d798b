"""What does a monitor leave to the one that is started after it?

What it has only heard, since nobody tells it again: how often workers died of what, how long steps took. It is on the
scoreboard twice, and written in turns: whoever was killed while writing leaves what was there before.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from launcher.monitor.view import View

_HEAD = struct.Struct("@qII")  # number of the note, length, checksum


class Notes:
    """Keeps what a view has heard.

    monitors: how many were started, we among them.
    """

    def __init__(self, view: View) -> None:
        """Give the view what the monitor before has left."""
        self._view, self._memory = view, view.board.notes
        self._half = len(self._memory) // 2
        self._number, left = max(self._read(0), self._read(1), key=lambda note: note[0])
        self._written: dict[str, Any] = {}
        self.monitors = int(left.get("monitors", 0)) + 1
        view.deaths = Counter(left.get("deaths", {}))
        view.incidents = Counter(left.get("incidents", {}))
        view.recycles = Counter(left.get("recycles", {}))
        view.lost = Counter({int(slot): count for slot, count in left.get("lost", {}).items()})
        view.reloads = int(left.get("reloads", 0))
        view.steps = dict(left.get("steps", {}))
        view.lock_waited_s = left.get("lock_waited_s")
        view.limits = dict(left.get("limits", {}))
        self.keep()

    def keep(self, _event: Mapping[str, Any] | None = None) -> None:
        """Write down what the view has heard, if there is something new."""
        view = self._view
        heard = {
            "monitors": self.monitors,
            "deaths": dict(view.deaths),
            "incidents": dict(view.incidents),
            "recycles": dict(view.recycles),
            "lost": {str(slot): count for slot, count in view.lost.items()},
            "reloads": view.reloads,
            "lock_waited_s": view.lock_waited_s,
            "limits": dict(view.limits),
            "steps": dict(view.steps),
        }
        if heard != self._written:
            self._written = heard
            self._write(_fitting(heard, self._half - _HEAD.size))

    def _read(self, half: int) -> tuple[int, dict[str, Any]]:
        """Return number and content of one of the two; nothing when it was never completed."""
        at = half * self._half
        number, length, checksum = _HEAD.unpack_from(self._memory, at)
        content = bytes(self._memory[at + _HEAD.size : at + self._half][:length])
        if number <= 0 or zlib.crc32(content) != checksum:
            return 0, {}
        return number, json.loads(content)

    def _write(self, content: bytes) -> None:
        self._number += 1
        at = self._number % 2 * self._half
        _HEAD.pack_into(self._memory, at, 0, 0, 0)
        self._memory[at + _HEAD.size : at + _HEAD.size + len(content)] = content
        _HEAD.pack_into(self._memory, at, self._number, len(content), zlib.crc32(content))


def _fitting(heard: dict[str, Any], most_bytes: int) -> bytes:
    """Return it as JSON, without the first steps when there are too many, then without the slots."""
    while len(content := json.dumps(heard).encode()) > most_bytes and (heard["steps"] or heard["lost"]):
        left = {"steps": dict(list(heard["steps"].items())[1:])} if heard["steps"] else {"lost": {}}
        heard = {**heard, **left}
    return content if len(content) <= most_bytes else b"{}"
