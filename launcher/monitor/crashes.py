"""What becomes of what is reported?

It is kept first, then its sender hears so, then the plugins are told. What is worth a report is rare and comes in
bursts: nothing is done for it before there is one, but for the memory samples, which cannot be taken afterwards.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.kernel import trim_memory
from launcher.monitor.samples import Samples
from launcher.monitor.view import View

if TYPE_CHECKING:
    from launcher.incidents.store import Store
    from launcher.monitor.pending import Pending

_ID = re.compile(r"[0-9A-Za-z][\w.-]{0,80}", re.ASCII)  # part of the name of a file, and of a path
_MOST_KNOWN = 2000  # ids; a burst is some dozens
_MOST_UNSAID = 2000
_IN_LISTS = (
    *("id", "at", "kind", "title", "verdict", "confidence", "pid", "slot", "number", "generation"),
    *("exit_code", "merged", "app", "release", "host", "launcher_pid"),
)
# What those who take a report apart rely on; whatever else a message calls a report is kept as it came.
_SHAPE: Mapping[str, Any] = {
    "title": "",
    "stacks": "",
    "last_log": [],
    "in_flight": [],
    "more_in_flight": 0,
    "evidence": [],
    "memory": {},
    "versions": {},
}
_ADOPT_S = 10.0


class Crashes:
    """Keeps reports.

    last: of the newest report, what a person wants first.
    """

    def __init__(self, plan: Mapping[str, Any], view: View, samples: Samples, say: Callable[..., bool]) -> None:
        """Find in `plan` where to keep them; `say` sends a message to the server."""
        given = plan.get("incidents") or {}
        self.folder = Path(given["folder"]) if given.get("folder") else None
        self.last: dict[str, Any] = {}
        self._tell: Callable[..., None] = self.delivered
        self._pending: Pending | None = None
        self._adopt_at = 0.0
        self._because = str(given.get("because") or "")
        self._view, self._samples, self._say = view, samples, say
        self._store: Store | None = None
        self._known: dict[str, bool] = {}  # id -> every plugin has it
        self._unsaid: deque[dict[str, Any]] = deque(maxlen=_MOST_UNSAID)

    @property
    def store(self) -> Store:
        """Where they are kept."""
        if self._store is None:
            from launcher.incidents.store import Store  # with the first report

            self._store = Store(self.folder, because=self._because)
        return self._store

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a report that came over the channel; a message that is none is dropped."""
        report = message.get("incident")
        if not isinstance(report, dict) or not is_id(number := report.get("id")):
            return
        if number in self._known:  # sent again, since its sender has not heard from us
            self.say({"kept": number})
            if self._known[number]:
                self.say({"delivered": number})
        else:
            self.take(report)

    def told_by(self, tell: Callable[..., None], cwd: str) -> None:
        """Have `tell(id, plugins that have it)` tell the plugins; from now on those are known whom one is owed."""
        from launcher.monitor.pending import Pending  # where there are plugins

        self._tell, self._pending = tell, Pending(self.folder, cwd)

    def take(self, report: dict[str, Any]) -> Path | None:
        """Keep a report that nobody knows yet, say so, have it told; return where it is, None: in memory."""
        number = report["id"]
        self._complete(report)
        path = self.store.keep(report)
        self._know(number)
        self._count(report.get("kind"))
        if str(report.get("at", "")) >= str(self.last.get("at", "")):
            self.last = {name: report.get(name) for name in ("at", "title", "kind", "evidence")}
        where = {"path": str(path)} if path else {"because": self.store.because}
        self.say({"kept": number, **where})
        self._tell(number)
        return path

    def noted(self, number: str, taken_by: Sequence[str]) -> None:
        """Keep in mind who has taken it."""
        if self._pending is not None:
            self._pending.note(number, taken_by)

    def delivered(self, number: str) -> None:
        """Say that every plugin has taken it, or that there is none to take it."""
        if self._pending is not None:
            self._pending.done(number)
        self._know(number, delivered=True)
        self.say({"delivered": number})

    def find(self, number: str) -> dict[str, Any] | None:
        """Return the report with this id, or the newest one whose id begins so."""
        return self.store.find(number)

    def listed(self) -> dict[str, Any]:
        """Return what `/crashes` shows: where they are, and of each the facts that fit into a line."""
        found = [{name: report.get(name) for name in _IN_LISTS} for report in self.store.all()]
        trim_memory()  # of all that was read
        return {"folder": str(self.folder or ""), "because": self.store.because, "crashes": found}

    def look(self) -> None:
        """Say again what the server had no room for; look for what nobody has told. Call it about once a second."""
        while self._unsaid and self._say(self._unsaid[0]):
            self._unsaid.popleft()
        if self._pending is not None and self._view.clock() >= self._adopt_at:
            self._adopt_at = self._view.clock() + _ADOPT_S
            for number, taken_by in self._pending.left().items():
                self._know(number)
                self._tell(number, taken_by)

    def say(self, message: dict[str, Any]) -> None:
        """Tell the server, in order, as soon as it has room for it."""
        if self._unsaid or not self._say(message):
            self._unsaid.append(message)

    def _complete(self, report: dict[str, Any]) -> None:
        """Add what only the monitor has seen: how much memory was used before."""
        for name, default in _SHAPE.items():
            if not isinstance(report.get(name), type(default)):
                report[name] = default
        memory = report["memory"] = dict(report["memory"])
        if not (isinstance(memory.get("samples"), list) and memory["samples"]):
            memory["samples"] = self._samples.of(report.get("number"))
        if not memory.get("group"):
            memory["group"] = self._samples.group(self._view.facts.get("memory") or {})

    def _count(self, kind: object) -> None:
        from launcher.incidents.report import KINDS  # with the first report

        if kind in KINDS:
            self._view.incidents[str(kind)] += 1

    def _know(self, number: str, *, delivered: bool = False) -> None:
        self._known[number] = delivered
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]


def is_id(number: object) -> bool:
    """Tell whether this can be the id of a report: nothing that would lead out of a folder."""
    return isinstance(number, str) and _ID.fullmatch(number) is not None


def title_of(report: Mapping[str, Any]) -> str:
    """Return a report in one line, with the time at which it happened."""
    at = str(report.get("at") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    return f"{at} {report.get('title') or report.get('kind') or ''}".strip()
