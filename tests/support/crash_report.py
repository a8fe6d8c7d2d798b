"""Which report do the tests of the plugins tell?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from launcher import Incident

MakeIncident = Callable[..., Incident]

REPORT: dict[str, Any] = {
    "schema": 1,
    "id": "20261122T134501.123456Z-4f2a9c",
    "at": "2026-11-22T13:45:01.123Z",
    "kind": "crash",
    "title": "Worker 4711 ended by SIGSEGV",
    "verdict": "native-crash",
    "confidence": "certain",
    "evidence": ["the wait status says SIGSEGV"],
    "pid": 4711,
    "slot": 0,
    "generation": 1,
    "number": 3,
    "stage": "ready",
    "age_s": 12.5,
    "wait_status": {"signal": "SIGSEGV"},
    "exit_code": None,
    "in_flight": [{"method": "GET", "path": "/orders", "age_s": 0.2}],
    "more_in_flight": 2,
    "memory": {
        "samples": [{"age_s": 0.4, "private_bytes": 1000, "shared_bytes": 2000}],
        "group": {"usage_bytes": 3000, "limit_bytes": 4000},
        "counters": {"oom_kill": [3, 3]},
    },
    "stacks": "Fatal Python error: Segmentation fault\n  File main.py, line 7 in crash\n",
    "last_log": ["before"],
    "restarts_in_window": 1,
    "merged": 0,
    "app": "shop.main:app",
    "release": "2026.11",
    "host": "web-1",
    "launcher_pid": 4700,
    "versions": {"python": "3.11.2", "launcher": "0.1.0"},
}


@pytest.fixture
def report() -> dict[str, Any]:
    """Return the document of a report."""
    return dict(REPORT)


@pytest.fixture
def incident() -> MakeIncident:
    """Make the record of a report: `incident(kind="boot-failed")`."""
    return lambda **facts: Incident.from_report({**REPORT, **facts})
