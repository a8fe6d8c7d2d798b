"""What becomes of what is reported?

It is kept first, then its sender hears so, then the plugins are told. What is worth a report is rare and comes in
bursts: nothing is done for it before there is one, but for the memory samples, which cannot be taken afterwards.

A child writes (`launcher.monitor.disk`), since the folder may be on a disk that hangs.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.kernel import trim_memory
from launcher.monitor.disk import Do, Done
from launcher.monitor.samples import Samples
from launcher.monitor.view import View

if TYPE_CHECKING:
    from launcher.incidents.store import Store
    from launcher.monitor.pending import Pending
    from launcher.monitor.unwritten import Kept, Unwritten

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

    def __init__(self, plan: Mapping[str, Any], view: View, samples: Samples, say: Callable[..., bool], do: Do) -> None:
        """Find in `plan` where to keep them; `say` sends a message to the server, `do` is `Disk.do`."""
        given = plan.get("incidents") or {}
        self.folder = Path(given["folder"]) if given.get("folder") else None
        self.last: dict[str, Any] = {}
        self._tell: Callable[..., None] = self.delivered
        self._pending: Pending | None = None
        self._adopt_at = 0.0
        self._because = str(given.get("because") or "")
        self._plan, self._view, self._samples, self._say, self._do = plan, view, samples, say, do
        self._store: Store | None = None
        self._known: dict[str, bool] = {}  # id -> every plugin has it
        self._unsaid: deque[dict[str, Any]] = deque(maxlen=_MOST_UNSAID)
        self._unwritten: Unwritten | None = None

    @property
    def store(self) -> Store:
        """Where they are kept: in memory until the child has written them."""
        if self._store is None:
            from launcher.incidents.store import Store  # with the first report

            self._store = Store(self.folder, because=self._because)
        return self._store

    @property
    def unwritten(self) -> Unwritten:
        """What the child is to write."""
        if self._unwritten is None:
            from launcher.monitor.unwritten import Unwritten  # as above

            hangs = partial(warn, self._plan, "launcher.incident_not_kept", folder=str(self.folder))
            self._unwritten = Unwritten(self.store, self._do, hangs, self._view.clock)
        return self._unwritten

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a report that came over the channel; a message that is none is dropped."""
        report = message.get("incident")
        if not isinstance(report, dict) or not is_id(number := report.get("id")):
            return
        if number not in self._known:
            self.take(report)
        elif number not in self.unwritten:
            self.say({"kept": number})  # again, since its sender has not heard from us
            if self._known[number]:
                self.say({"delivered": number})

    def told_by(self, tell: Callable[..., None], cwd: str) -> None:
        """Have `tell(id, plugins that have it)` tell the plugins; from now on those are known whom one is owed."""
        from launcher.monitor.pending import Pending  # where there are plugins

        self._tell, self._pending = tell, Pending(self.folder, cwd, self._do)

    def take(self, report: dict[str, Any], kept: Kept | None = None) -> None:
        """Keep a report that nobody knows yet, then say so, have it told, and call `kept` with where it is and why."""
        number = report["id"]
        self._complete(report)
        self._know(number)
        self._count(report.get("kind"))
        if str(report.get("at", "")) >= str(self.last.get("at", "")):
            self.last = {name: report.get(name) for name in ("at", "title", "kind", "evidence")}

        def is_kept(path: str, because: str) -> None:
            self._is_kept(number, path, because)
            if kept is not None:
                kept(path, because)

        if self.folder is None:
            self.store.remember(report)
            is_kept("", self.store.because)
        else:
            self.unwritten.add(report, is_kept)

    def noted(self, number: str, taken_by: Sequence[str]) -> None:
        """Keep in mind who has taken it."""
        if self._pending is not None:
            self._pending.note(number, taken_by)

    def delivered(self, number: str) -> None:
        """Say that every plugin has taken it, or that there is none to take it."""
        self._know(number, delivered=True)
        say = partial(self.say, {"delivered": number})
        if self._pending is None:
            say()
        elif self._unwritten is not None and self._unwritten.hangs:  # nobody waits for that
            say()
            self._pending.done(number, lambda: None)
        else:
            self._pending.done(number, say)

    def at_hand(self, number: str) -> dict[str, Any] | None:
        """Return the report with this id if it is in memory."""
        return next((report for report in self.store.remembered() if report["id"] == number), None)

    def find(self, number: str, then: Callable[[Any], None], late: Callable[[], None] | None = None) -> None:
        """Look for the report with this id, or the newest one whose id begins so; `late`: when the folder hangs."""
        if self.folder is None or (found := self.at_hand(number)) is not None:
            then(self.store.find(number) if self.folder is None else found)
            return

        def told(done: Done) -> None:
            if done.said is not None:
                then(done.said[0])
            elif late is not None:
                late()

        self._do(lambda: Done([self.store.find(number)]), told, late)

    def listed(self, then: Callable[[dict[str, Any]], None]) -> None:
        """Look for what `/crashes` shows: where they are, and of each the facts that fit into a line."""

        def told(found: Sequence[Mapping[str, Any]], because: str = "") -> None:
            then({"folder": str(self.folder or ""), "because": because or self.store.because, "crashes": found})
            trim_memory()

        def in_memory() -> None:
            told(_lines(self.store.remembered()), f"{self.folder} does not answer")

        def found(done: Done) -> None:
            in_memory() if done.said is None else told(done.said)

        if self.folder is None:
            told(_lines(self.store.all()))
        else:
            self._do(lambda: Done(_lines(self.store.all())), found, in_memory)

    def look(self) -> None:
        """Say again what the server had no room for; look for what nobody has told. Call it about once a second."""
        while self._unsaid and self._say(self._unsaid[0]):
            self._unsaid.popleft()
        if self._unwritten is not None:
            self._unwritten.look()
        if self._pending is not None and self._view.clock() >= self._adopt_at:
            self._adopt_at = math.inf  # until it has answered
            self._pending.left(self._adopt)

    def flush(self) -> None:
        """Have all written by the next child: the monitor ends."""
        if self._unwritten is not None:
            self._unwritten.flush()

    def say(self, message: dict[str, Any]) -> None:
        """Tell the server, in order, as soon as it has room for it."""
        if self._unsaid or not self._say(message):
            self._unsaid.append(message)

    def _adopt(self, left: Mapping[str, Sequence[str]]) -> None:
        self._adopt_at = self._view.clock() + _ADOPT_S
        for number, taken_by in left.items():
            self._know(number)
            self._tell(number, taken_by)

    def _is_kept(self, number: str, path: str, because: str) -> None:
        self.say({"kept": number, **({"path": path} if path else {"because": because})})
        self._tell(number)

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


def _lines(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: report.get(name) for name in _IN_LISTS} for report in reports]


def warn(plan: Mapping[str, Any], event: str, **facts: object) -> None:
    """Log a warning."""
    # Here, since the way to it costs memory that is not needed while all is well.
    from launcher.log import configure_child, log

    if not log.configured:
        configure_child(plan)
    log.warning(event, **facts)
