"""Is what processes and plugins tell each other checked where it is made?"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from launcher.records import Event, HealthCheck, Incident, is_async


def passes() -> None:
    """Do nothing."""


async def waits() -> None:
    """Do nothing, asynchronously."""


class Waits:
    """Is called like a function."""

    async def __call__(self) -> None:
        """Do nothing, asynchronously."""


def _shown(given: dict[str, Any]) -> str:
    """Return an id that is the same in every process: objects by their type."""
    ((name, value),) = given.items()
    return f"{name}={value}" if isinstance(value, str | int | float) else f"{name}-{type(value).__name__}"


def test_a_check_has_defaults() -> None:
    """A name and a function are enough."""
    check = HealthCheck("database", passes)

    assert ("readiness", 10.0, 5.0) == (check.group, check.interval, check.timeout)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "My Database"},
        {"name": ""},
        {"name": "a/b"},
        {"name": "x" * 64},
        {"name": None},
        {"probe": "SELECT 1"},
        {"probe": waits},
        {"probe": Waits()},
        {"probe": functools.partial(waits)},
        {"group": "liveness"},
        {"interval": 0},
        {"interval": "10s"},
        {"timeout": 0},
        {"timeout": 1e9},
        {"timeout": True},
    ],
    ids=_shown,
)
def test_what_is_no_check_is_refused(given: dict[str, Any]) -> None:
    """The error begins with the name of the field."""
    with pytest.raises((ValueError, TypeError)) as caught:
        HealthCheck(**{"name": "database", "probe": passes, **given})

    assert str(caught.value).startswith(f"{next(iter(given))}: ")


@pytest.mark.parametrize("function", [waits, Waits(), functools.partial(waits), Waits().__call__])
def test_async_is_seen(function: object) -> None:
    """Functions, methods, objects and partials of them."""
    assert is_async(function)
    assert not is_async(passes)


def test_an_event_has_a_name_of_ours() -> None:
    """Nothing else is an event of the launcher's."""
    with pytest.raises(ValueError, match="name: 'worker_ready'"):
        Event("worker_ready", "2026-01-02T03:04:05Z")


REPORT: dict[str, Any] = {
    "schema": 1,
    "id": "1",
    "at": "2026-01-02T03:04:05Z",
    "kind": "crash",
    "verdict": "oom",
    "confidence": "certain",
    "evidence": ["the kernel's counter grew"],
    "wait_status": {"signal": "SIGKILL"},
    "a later key": True,
}


def test_an_incident_is_what_a_report_says() -> None:
    """Lists become tuples, keys of a later version are left out."""
    incident = Incident.from_report(REPORT)

    assert ("oom", ("the kernel's counter grew",)) == (incident.verdict, incident.evidence)
    assert {"signal": "SIGKILL"} == incident.wait_status


def test_an_incident_may_be_no_death() -> None:
    """A step that failed has no verdict, whether its report says so or says nothing."""
    failed = {"id": "1", "at": "2026-01-02T03:04:05Z", "kind": "step-failed", "exit_code": 3}
    incident = Incident.from_report(failed)

    assert (None, 3) == (incident.verdict, incident.exit_code)
    assert incident == Incident.from_report({**failed, "verdict": None})


@pytest.mark.parametrize(
    "wrong", [{"schema": 2}, {"kind": "party"}, {"verdict": "bad"}, {"confidence": "?"}, {"id": ""}]
)
def test_a_report_of_another_kind_is_refused(wrong: dict[str, Any]) -> None:
    """What this version does not understand is no incident; neither is half of one."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Incident.from_report({**REPORT, **wrong})
    with pytest.raises(ValueError, match="no incident"):
        Incident.from_report({"id": "1"})
