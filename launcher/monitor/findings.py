"""What have the checks of plugins found?

The last result of each is kept, over a restart of the plugin host too. Not well is also: not yet checked, not checked
for too long, and a plugin whose checks nobody knows, as it could not be loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.monitor.health import Line

_GRACE_S = 30.0  # for a new plugin host to have looked again, before a result is too old
_OURS = "http"  # the check of `health_http`
_NOT_YET = "not yet checked"


@dataclass(slots=True)
class Result:
    """The last result of one check; `at` None: there is none."""

    group: str
    interval_s: float
    timeout_s: float
    ok: bool = False
    detail: str = _NOT_YET
    at: float | None = None


class Findings:
    """What is known.

    checks: name -> its last result. broken: plugin -> why it, or one of its hooks, is not used.
    because: why the plugin host does not run.
    """

    def __init__(self, plan: Mapping[str, Any], silence_s: Callable[[float], float]) -> None:
        """Know from `plan` who is to be asked. `silence_s`: how long ago an instant is, sleep of ours apart."""
        self._silence_s = silence_s
        self._has_own = bool(plan.get("health_http"))
        hooks = plan.get("hooks", ())
        self._asked = [str(one["who"]) for one in hooks if "launcher_health_checks" in one["hooks"]]
        self._complete = False
        self.checks: dict[str, Result] = {}
        self.broken: dict[str, str] = {}
        self.because = ""

    def expect(self, checks: Sequence[Mapping[str, Any]], broken: Mapping[str, str]) -> None:
        """Take note of which checks there are; results of those that were there before stay."""
        self._complete, self.because, self.broken = True, "", dict(broken)
        before, self.checks = self.checks, {}
        for one in checks:
            name = str(one["name"])
            fresh = Result(str(one["group"]), float(one["interval_s"]), float(one["timeout_s"]))
            known = before.get(name, fresh)
            fresh.ok, fresh.detail, fresh.at = known.ok, known.detail, known.at
            self.checks[name] = fresh

    def take(self, name: str, *, ok: bool, detail: str, at: float) -> None:
        """Take note of a result."""
        if one := self.checks.get(name):
            one.ok, one.detail, one.at = ok, detail, at

    def lines(self, group: str) -> Sequence[Line]:
        """Return a line for each check of a group ("readiness", "startup"), and for plugins without known checks."""
        found = [Line(name, *self._state(one)) for name, one in self.checks.items() if one.group == group]
        if not self._complete:
            own = [Line(_OURS, ok=False, detail=_NOT_YET)] if self._has_own and group == "readiness" else []
            others = [Line("plugins", ok=False, detail=self.because or _NOT_YET)] if self._asked else []
            return own + others
        unknown = [f"{who}: {self.broken[who]}" for who in self._asked if who in self.broken]
        return found + ([Line("plugins", ok=False, detail="; ".join(unknown))] if unknown else [])

    def facts(self) -> dict[str, Any]:
        """Return what `status` shows."""
        states = ((name, one.group, self._state(one)) for name, one in self.checks.items())
        checks = [{"name": name, "group": group, "ok": ok, "detail": detail} for name, group, (ok, detail) in states]
        return {"checks": checks, "broken": dict(self.broken)}

    def _state(self, one: Result) -> tuple[bool, str]:
        if one.at is None:
            return False, one.detail
        age_s = self._silence_s(one.at)
        if age_s > one.interval_s + one.timeout_s + _GRACE_S:
            return False, f"no result for {age_s:.0f} s" + (f": {self.because}" if self.because else "")
        return one.ok, one.detail
