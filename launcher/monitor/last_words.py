"""What is left to read when all of us are killed at once?

Where one kill for memory takes the whole container nobody can tell afterwards, so it is written ahead: in the
platform's termination log at each change of state, and in the marker that the next run looks for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.kernel import die_with_parent
from launcher.monitor.crashes import Crashes, title_of, warn
from launcher.monitor.disk import Do, Done
from launcher.monitor.samples import Samples
from launcher.monitor.view import View

if TYPE_CHECKING:
    from launcher.incidents.last_run import LastRun
    from launcher.incidents.termination import TerminationLog

SEEN_EVERY_S = 10.0
AGAIN_S = 10.0  # until a text is tried again that could not be written
_MOST_EVIDENCE = 5  # of the last incident


class LastWords:
    """Writes them. `hear` and `look` have to be called with each event, and about once a second."""

    def __init__(self, plan: Mapping[str, Any], view: View, crashes: Crashes, samples: Samples, do: Do) -> None:
        """Find in `plan` where to write; `do` is `Disk.do`."""
        self._do, self._is_writing, self._pid = do, False, os.getpid()
        given = plan.get("incidents") or {}
        self._plan, self._view, self._crashes, self._samples = plan, view, crashes, samples
        self._log: TerminationLog | None = None
        self._last_run: LastRun | None = None
        if given.get("termination_log"):
            from launcher.incidents.termination import TerminationLog  # its memory only where there is one

            self._log = TerminationLog(Path(given["termination_log"]))
        if crashes.folder is not None:
            from launcher.incidents.last_run import LastRun  # as above
            from launcher.limits.oom import OomReader

            self._last_run, self._oom = LastRun(crashes.folder), OomReader()
        self._code: int | None = None
        self._due = self._again = 0.0
        self._written = self._tried = ""
        self._is_logging = False

    def begin(self) -> None:
        """Leave the marker of this run; report the end of the one before if it was none that it should have been."""
        self._write()
        if self._last_run is None:
            return
        # Without the application's name, which is known later than this: then a monitor that is started again would
        # leave another marker. The folder tells as much.
        facts = {"launcher_pid": int(self._plan["parent"]), "cwd": self._plan.get("cwd", ""), **self._seen()}
        self._do(lambda: self._marked(facts), self._has_begun)

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take note of what happens; `launcher.server_ended` is the end that should be."""
        if "event" not in message and "incident" not in message:
            return
        ended = message.get("event") == "launcher.server_ended"
        if ended:
            code = message.get("code")
            self._code = code if isinstance(code, int) else 0
        self._write(last=ended)
        if ended and (self._last_run or self._log):
            # Behind the text: who is told ends, and all of a container ends with its first process.
            self._do(self._unmarked, self._has_ended, fd=self._last_run.marker()[0] if self._last_run else -1)
        elif ended:
            self._crashes.say({"ended": True})

    def look(self) -> None:
        """Write what has changed without an event; now and then that we live."""
        self._write()
        if self._last_run is not None and self._view.clock() >= self._due and not self._is_writing:
            self._due = self._view.clock() + SEEN_EVERY_S
            self._is_writing = self._last_run.note(**self._seen())
            if self._is_writing:
                self._do(self._seen_written, self._has_written, fd=self._last_run.marker()[0])

    # The text, by a child: the termination log is a file of the node's disk, which may hang as well.

    def _write(self, *, last: bool = False) -> None:
        """Have the newest text written, one at a time; the last one whoever is at it, since nobody asks after it."""
        if self._log is None or (self._is_logging and not last):
            return
        text, now = last_words(self._view, self._crashes.last, self._code), self._view.clock()
        if text == self._written or (text == self._tried and now < self._again):
            return
        self._is_logging, self._tried, self._again = True, text, now + AGAIN_S
        self._do(partial(self._logged, text, last=last), partial(self._has_logged, text))

    def _logged(self, text: str, *, last: bool) -> Done:
        """In the child: write it. When we are gone only the last one: others may have written why we are."""
        if self._log is None or not (last or os.getppid() == self._pid):
            return Done()
        self._log.write(text)
        return Done(not self._log.because)

    def _has_logged(self, text: str, done: Done) -> None:
        self._is_logging = False
        if done.said:
            self._written = text
        self._write()

    # The marker, for which a child is asked: it is in the folder of the reports.

    def _marked(self, facts: Mapping[str, Any]) -> Done:
        """In the child: leave it. Not when we are gone: a start that has failed removes it, and nothing may follow."""
        assert self._last_run is not None  # noqa: S101 - else nobody is asked
        die_with_parent()
        try:
            report = self._last_run.begin(facts) if os.getppid() == self._pid else None
            fd, begun = self._last_run.marker()
            return Done([report, begun], fd)
        finally:
            die_with_parent(0)

    def _has_begun(self, done: Done) -> None:
        report, begun = done.said or (None, None)
        if begun is not None and self._last_run is not None:
            self._last_run.resume(done.fd, begun)
        if report is not None:
            report["app"] = report["app"] or str(self._plan.get("app", ""))
            self._crashes.take(report, partial(self._say, report))

    def _say(self, report: Mapping[str, Any], path: str, _because: str) -> None:
        facts = {name: report[name] for name in ("id", "kind", "title")}
        warn(self._plan, "launcher.incident_reported", **facts, path=path)

    def _seen_written(self) -> Done:
        if self._last_run is not None:
            self._last_run.write()
        return Done()

    def _has_written(self, _done: Done) -> None:
        self._is_writing = False

    def _unmarked(self) -> Done:
        if self._last_run is not None:
            self._last_run.end()
        return Done()

    def _has_ended(self, _done: Done) -> None:
        self._last_run = None
        self._crashes.say({"ended": True})

    def _seen(self) -> dict[str, Any]:
        group = self._samples.group(self._view.facts.get("memory") or self._plan.get("memory") or {})
        oom, memory = self._oom(), {"samples": [], "group": group}
        return {"workers_ready": self._view.ready, "oom_kill": oom.kills, "oom_group": oom.group, "memory": memory}


def last_words(view: View, incident: Mapping[str, Any], code: int | None) -> str:
    """Return the text of the termination log: how far it is, and the last incident. `code`: it has ended with it."""
    lines = [f"asgi-launcher: {_state(view, code)}"]
    if incident:
        lines.append(f"last incident: {title_of(incident)}")
        evidence = incident.get("evidence")
        lines += [f"  {sentence}" for sentence in (evidence if isinstance(evidence, list) else [])[:_MOST_EVIDENCE]]
    return "\n".join(lines)


def _state(view: View, code: int | None) -> str:
    if code is not None:
        return f"gave up, exit code {code}" if code else "stopped"
    if view.has_server:
        doing = {"booting": "starting", "serving": "serving", "draining": "draining"}[view.state]
        return f"{doing}, {view.ready} of {view.wanted} workers ready"
    boot = view.boot
    what = [f"step {boot.step}"] if boot.step else []
    what += [f"waiting for {boot.waiting_for}"] if boot.waiting_for else []
    return ", ".join(["booting", *what])
