"""What is answered to which request?

Over TCP anybody may ask, so that there is little to learn and nothing to do; the Unix socket is its owner's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from launcher.errors import ExitCode
from launcher.monitor.connection import Answer, Handler, Reply, Request
from launcher.monitor.control import Control
from launcher.monitor.crashes import Crashes
from launcher.monitor.health import PROBES, Health, Line, Probe

_OK, _FAILED = 200, 503
_JSON = "application/json"
_HEALTH_JSON = "application/health+json"  # draft-inadarei-api-health-check
_CRASH = "/crashes/"
_WITHHELD = "reason withheld"  # as Kubernetes' own servers say it

Asks = Callable[[dict[str, Any]], "dict[str, Any] | None"]  # what was sent with it -> the ask; None: it is none


class Routes:
    """Knows the way to each answer.

    metrics: answers /metrics; may be set later. crashes: has the reports; may be set later.
    """

    def __init__(
        self,
        health: Health,
        control: Control,
        status: Callable[[], Mapping[str, Any]],
        end_boot: Callable[[], None],
        *,
        details: bool = False,
        metrics: bool = False,
    ) -> None:
        """Answer over TCP with details of the checks, and with metrics, only if so.

        `status` returns what /status shows; `end_boot` stops a launcher that has no pool yet.
        """
        self.metrics: Handler = no_metrics
        self.crashes: Crashes | None = None
        self._health, self._control, self._status, self._end_boot = health, control, status, end_boot
        self._details, self._has_metrics = details, metrics
        self._probes = {probe: _by_get(self._probe) for probe in PROBES}
        self._local: Mapping[str, Mapping[str, Handler]] = {
            "/status": _by_get(self._tell_status),
            "/crashes": _by_get(self._tell_crashes),
            **{f"/{name}": {"POST": self._ask} for name in _ASKS},
        }

    def __call__(self, request: Request, answer: Answer) -> None:
        """Answer, at once or when the answer is known."""
        ways = self._ways(request)
        if not ways:
            answer(_text(404, "not found"))
        elif (way := ways.get(request.method)) is None:
            answer(_text(405, "method not allowed", ("Allow", ", ".join(ways))))
        else:
            way(request, answer)

    def _ways(self, request: Request) -> Mapping[str, Handler]:
        """Return what can be done with a path, by method."""
        probe = request.path[1:].partition("/")[0]
        for name, ways in self._probes.items():
            if probe == name:
                return ways
        if request.path == "/metrics" and (request.local or self._has_metrics):
            return _by_get(self.metrics)
        if not request.local:
            return {}
        return _by_get(self._tell_crash) if request.path.startswith(_CRASH) else self._local.get(request.path, {})

    def _probe(self, request: Request, answer: Answer) -> None:
        name, _, check = request.path[1:].partition("/")
        probe: Probe = next(probe for probe in PROBES if probe == name)
        lines = [line for line in self._health.ask(probe).lines if check in {"", line.name}]
        if not lines:
            answer(_text(404, "no such check"))
            return
        details = request.local or self._details
        status = _OK if all(line.ok for line in lines) else _FAILED
        accepted = request.headers.get("accept", "")
        if _JSON in accepted or _HEALTH_JSON in accepted:
            kind = _HEALTH_JSON if _HEALTH_JSON in accepted else _JSON
            answer(_json(status, _document(lines, details=details), kind))
        elif "verbose" in request.query.replace("=", "&").split("&"):
            answer(_text(status, _verbose(name, lines, details=details)))
        else:
            answer(_text(status, "ok" if status == _OK else "failed"))

    def _tell_status(self, _request: Request, answer: Answer) -> None:
        answer(_json(_OK, self._status()))

    def _tell_crashes(self, _request: Request, answer: Answer) -> None:
        if self.crashes is None:
            answer(_json(_OK, {"crashes": []}))
        else:
            self.crashes.listed(lambda found: answer(_json(_OK, found)))

    def _tell_crash(self, request: Request, answer: Answer) -> None:
        def found(report: Mapping[str, Any] | None) -> None:
            answer(_text(404, "not found") if report is None else _json(_OK, report))

        if self.crashes is None:
            found(None)
        else:
            hangs = _text(503, "the folder of crash reports does not answer")
            self.crashes.find(request.path.removeprefix(_CRASH), found, lambda: answer(hangs))

    def _ask(self, request: Request, answer: Answer) -> None:
        """Hand an ask on to the pool; the answer is sent when the pool has answered."""
        name = request.path[1:]
        sent = _object(request.body)
        ask = None if sent is None else _ASKS[name](sent)
        if ask is None:
            answer(_outcome(400, ExitCode.USAGE, f"not what {request.path} takes"))
        elif not self._health.view.has_server and name == "stop":
            self._end_boot()
            answer(_outcome(_OK, ExitCode.OK, ""))
        elif not self._health.view.has_server:
            answer(_outcome(409, ExitCode.BUG, "there is no pool yet: the launcher boots"))
        else:
            self._control.ask({**ask, "ask": name}, lambda code, because: answer(_outcome(_OK, code, because)))


def no_metrics(_request: Request, answer: Answer) -> None:
    """Say how to get metrics."""
    answer(_text(501, "metrics need prometheus_client: pip install asgi-launcher[metrics]"))


def _scale(sent: dict[str, Any]) -> dict[str, Any] | None:
    workers = sent.get("workers")
    return {"workers": workers} if _is_number(workers) else None


def _recycle(sent: dict[str, Any]) -> dict[str, Any] | None:
    pid = sent.get("pid")
    return {"pid": pid} if _is_number(pid) else None


_ASKS: Mapping[str, Asks] = {
    "reload": lambda _: {},
    "scale": _scale,
    "recycle": _recycle,
    "stop": lambda sent: {"quick": bool(sent.get("quick"))},
}


def _by_get(handler: Handler) -> Mapping[str, Handler]:
    return {"GET": handler, "HEAD": handler}


def _verbose(probe: str, lines: list[Line], *, details: bool) -> str:
    """Return what Kubernetes' own servers answer to `?verbose`, and behind `ok` the detail if there is one."""
    shown = [_line(line, details=details) for line in lines]
    outcome = "passed" if all(line.ok for line in lines) else "failed"
    return "\n".join([*shown, f"{probe} check {outcome}"])


def _line(line: Line, *, details: bool) -> str:
    if line.ok:
        return f"[+]{line.name} ok" + (f": {line.detail}" if details and line.detail else "")
    return f"[-]{line.name} failed: {line.detail if details else _WITHHELD}"


def _document(lines: list[Line], *, details: bool) -> dict[str, Any]:
    checks = {line.name: [{"status": _status(ok=line.ok), **_output(line, details=details)}] for line in lines}
    return {"status": _status(ok=all(line.ok for line in lines)), "checks": checks}


def _status(*, ok: bool) -> str:
    return "pass" if ok else "fail"


def _output(line: Line, *, details: bool) -> dict[str, str]:
    return {"output": line.detail} if details and line.detail else {}


def _object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that was sent; an empty one when nothing was."""
    try:
        sent = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return None
    return sent if isinstance(sent, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _outcome(status: int, code: int, because: str) -> Reply:
    return _json(status, {"code": int(code), "because": because})


def _text(status: int, text: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status, f"{text}\n".encode(errors="replace"), headers=headers)


def _json(status: int, content: Mapping[str, Any], kind: str = _JSON) -> Reply:
    return Reply(status, json.dumps(content).encode() + b"\n", kind)
