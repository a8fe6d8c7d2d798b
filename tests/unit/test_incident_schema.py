"""Is what is published about reports what they are?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from launcher.incidents.report import KINDS, fitted, new_report
from launcher.records import Confidence, Incident, Kind, Verdict

DOCS = Path(__file__).parents[2] / "docs/reference"
SCHEMA: dict[str, Any] = json.loads((DOCS / "crash-report.schema.json").read_text(encoding="utf-8"))
PAGE = (DOCS / "crash-reports.md").read_text(encoding="utf-8")
DEATH: dict[str, Any] = {
    "verdict": "oom",
    "evidence": ["the kernel's counter grew"],
    "pid": 4711,
    "slot": 0,
    "generation": 1,
    "number": 3,
    "stage": "ready",
    "age_s": 12.5,
    "wait_status": {"signal": "SIGKILL"},
    "exit_code": 70,
    "in_flight": [{"method": "GET", "path": "/report", "age_s": 2.25}],
    "more_in_flight": 1,
    "memory": {
        "samples": [{"age_s": 0.4, "private_bytes": 1, "shared_bytes": None}],
        "group": {"usage_bytes": 1, "limit_bytes": None},
        "counters": {"oom_kill": [0, 1]},
    },
    "stacks": "Thread 0x1",
    "last_log": ["a line"],
    "restarts_in_window": 2,
    "merged": 1,
    "app": "main:app",
    "release": "1",
}


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """Return what checks; the schema itself is checked against its own."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("facts", [{}, DEATH], ids=["least", "most"])
def test_every_report_keeps_the_schema(
    schema: jsonschema.Draft202012Validator, kind: str, facts: dict[str, Any]
) -> None:
    """Of each kind, with little and with much to say, whole and cut; and a plugin gets it as a record."""
    report = new_report(kind, "something happened", **facts)
    schema.validate(report)
    schema.validate(fitted(report, 1024))
    incident = Incident.from_report(report)

    assert (kind, facts.get("verdict")) == (incident.kind, incident.verdict)
    assert report == {
        name: list(value) if isinstance(value := getattr(incident, name), tuple) else value for name in report
    }


@pytest.mark.parametrize("key", sorted(new_report("crash", "it died")))
def test_the_schema_is_no_rubber_stamp(schema: jsonschema.Draft202012Validator, key: str) -> None:
    """A report without one of its keys, or with nonsense in it, is not valid; one with a later key is."""
    report = new_report("crash", "it died", **DEATH)

    assert not schema.is_valid({name: value for name, value in report.items() if name != key})
    assert not schema.is_valid({**report, key: object()})
    assert schema.is_valid({**report, "a later key": object()})


def test_every_key_is_described() -> None:
    """In the schema, in the record and on the page: the same keys."""
    keys = set(new_report("crash", "it died"))
    table = PAGE.partition("## Keys")[2].partition("## Kinds")[0]
    on_page = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}

    assert keys == set(SCHEMA["properties"]) == set(SCHEMA["required"]) == set(Incident.__dataclass_fields__)
    assert keys == on_page
    assert [] == [name for name, one in SCHEMA["properties"].items() if not one.get("description")]


def test_kinds_and_verdicts_are_the_same_everywhere() -> None:
    """In the code, the record, the schema and on the page."""
    kinds, verdicts = _rows("## Kinds"), _rows("## Verdicts")

    assert set(KINDS) == set(get_args(Kind)) == set(SCHEMA["properties"]["kind"]["enum"]) == kinds
    assert {*get_args(Verdict), None} == set(SCHEMA["properties"]["verdict"]["enum"])
    assert {*get_args(Verdict), "null"} == verdicts
    assert set(get_args(Confidence)) == set(SCHEMA["properties"]["confidence"]["enum"])


def test_the_example_is_a_report(schema: jsonschema.Draft202012Validator) -> None:
    """What the page shows keeps the schema."""
    schema.validate(json.loads(PAGE.partition("```json\n")[2].partition("```")[0]))


def _rows(heading: str) -> set[str]:
    table = PAGE.partition(heading)[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([\w-]+)`", cell)} - {"verdict", "kind"}
