"""How is a plan told, to a person and to a program?

The JSON keys are the contract of DESIGN §6: more may stand beside them, none is renamed.
"""

from __future__ import annotations

from typing import TypeVar

from launcher.boot.preview import Preview
from launcher.cli.tables import Row, show
from launcher.errors import LauncherError
from launcher.origin import OriginKind, Sourced
from launcher.plan import PlannedLock
from launcher.redact import redact

T = TypeVar("T")
_DUE = {True: "yes", False: "no", None: "cannot tell"}


def as_document(seen: Preview) -> dict[str, object]:
    """Return the plan as the published document."""
    plan, budget = seen.plan, seen.plan.budget
    return {
        "app": plan.app.import_string if plan.app else None,
        "app_because": plan.app.because if plan.app else None,
        "server": plan.server.value,
        "worker_class": plan.worker_class.value,
        "workers": {"count": budget.workers, "because": budget.because} if budget else None,
        "memory": _memory(seen),
        **_measured(seen),
        "lock": _lock(plan.lock),
        "steps": _steps(seen),
        "addresses": [address.value for address in plan.addresses],
        "stop": {"drain_delay": _sourced(plan.drain_delay), "graceful_timeout": _sourced(plan.graceful_timeout)},
        "argv": list(seen.argv),
        "settings": {name: _sourced(one) for name, one in plan.settings.items()},
        "ignored": [
            {"name": one.name, "origin": {"kind": one.origin.kind, "where": one.origin.where}, "because": one.because}
            for one in plan.ignored
        ],
        "warnings": _warnings(seen),
        "problems": [_problem(one.part, one.error) for one in seen.problems],
    }


def without_settings(error: LauncherError) -> dict[str, object]:
    """Return the document when the settings cannot be read: there is nothing to say but why."""
    return {"problems": [_problem("settings", error)]}


def _problem(part: str, error: LauncherError) -> dict[str, object]:
    return {
        "part": part,
        "message": redact(error.message),
        "cure": redact(error.cure),
        "exit_code": int(error.exit_code),
    }


def _sourced(one: Sourced[T]) -> dict[str, object]:
    """Return a value with its origin; durations are in seconds."""
    return {"value": one.value, "origin": {"kind": one.origin.kind, "where": one.origin.where}}


def _memory(seen: Preview) -> dict[str, object] | None:
    budget = seen.plan.budget
    if budget is None:
        return None
    return {
        "limit_bytes": budget.limit_bytes,
        "source": budget.limit_source,
        "budget_bytes": budget.budget_bytes,
        "regions": [{"name": one.name, "bytes": one.bytes, "source": one.source} for one in budget.regions],
        "fits": budget.fits,
        "fitting": budget.fitting,
        "sum": budget.sum_line(),
    }


def _measured(seen: Preview) -> dict[str, object]:
    if seen.trials is None:
        return {}
    from launcher.cli.measured_text import as_measured  # seldom

    return {"measured": as_measured(seen.trials)}


def _warnings(seen: Preview) -> list[str]:
    return [*seen.plan.doubts, *seen.plan.warnings, *(redact(doubt) for doubt in seen.doubts)]


def _steps(seen: Preview) -> list[dict[str, object]]:
    answers = {planned.name: answer for planned, answer in seen.steps}
    failed = {one.part: one.error.message for one in seen.problems}
    return [
        {
            "name": planned.name,
            "type": planned.settings.type,
            "once_per": planned.once_per,
            "where": redact(planned.step.where()),
            "due": answers[planned.name].due if planned.name in answers else None,
            "because": redact(
                answers[planned.name].because if planned.name in answers else failed.get(f"step {planned.name}", "")
            ),
        }
        for planned in seen.plan.steps
    ]


def print_preview(seen: Preview) -> None:
    """Print the plan as tables: what, its value, and why."""
    plan, budget = seen.plan, seen.plan.budget
    rows: list[Row] = [("app", plan.app.import_string, plan.app.because)] if plan.app else []
    rows.append(("server", f"{plan.server.value} ({plan.worker_class.value})", str(plan.server.origin)))
    rows += [("workers", str(budget.workers), budget.because)] if budget else []
    rows += [_lock_row(plan.lock)] if plan.lock else []
    rows += [("address", one.value, str(one.origin)) for one in plan.addresses]
    rows.append(("drain", f"{plan.drain_delay.value:g}s", str(plan.drain_delay.origin)))
    rows.append(("grace", f"{plan.graceful_timeout.value:g}s", str(plan.graceful_timeout.origin)))
    show("plan", ("what", "value", "because"), rows)
    if budget:
        show("memory", ("region", "size", "source"), budget.sum_rows())
    elif refused := seen.problem("workers"):
        show("memory", ("",), [(line,) for line in refused.detail.splitlines()])
    if seen.trials is not None:
        from launcher.cli.measured_text import print_measured  # seldom

        print_measured(seen.trials)
    if plan.steps:
        columns = ("step", "type", "once per", "due", "because")
        show("steps", columns, [_step_row(one) for one in _steps(seen)])
    _print_rest(seen)


def _step_row(step: dict[str, object]) -> Row:
    due = step["due"]
    return (
        str(step["name"]),
        str(step["type"]),
        str(step["once_per"]),
        _DUE[due if isinstance(due, bool) else None],
        str(step["because"]),
    )


def _print_rest(seen: Preview) -> None:
    plan = seen.plan
    if seen.argv:
        show("then becomes", ("",), [(" ".join(seen.argv),)])
    given = [(n, str(s.value), s.origin.where) for n, s in plan.settings.items() if s.origin.kind != OriginKind.DEFAULT]
    if given:
        show("settings", ("name", "value", "from"), given)
    if plan.ignored:
        show("ignored", ("name", "from", "because"), [(i.name, i.origin.where, i.because) for i in plan.ignored])
    if warnings := _warnings(seen):
        show("warnings", ("",), [(warning,) for warning in warnings])
    if seen.problems:
        rows = [(p.part, p.error.message, p.error.cure, str(int(p.error.exit_code))) for p in seen.problems]
        show("problems: `launcher run` would end here", ("part", "what", "try", "exit code"), rows)


def _lock(planned: PlannedLock | None) -> dict[str, object] | None:
    if planned is None:
        return None
    return {"kind": planned.lock.kind, "where": redact(planned.lock.where), "because": planned.because}


def _lock_row(planned: PlannedLock) -> Row:
    return ("lock", f"{planned.lock.kind} {planned.lock.where}", f"{planned.because}; covers {planned.lock.hosts}")
