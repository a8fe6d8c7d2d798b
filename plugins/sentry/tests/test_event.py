"""Is an event what the report says, and nothing else?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from launcher_sentry.event import event_of

STACKS = """Fatal Python error: Segmentation fault

Current thread 0x00007f006c81eb80 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/app/images.py", line 5 in resize
  File "/app/main.py", line 17 in upload
"""
REPORT: dict[str, Any] = {
    "schema": 1,
    "id": "20261122T134501.123456Z-4f2a9c",
    "at": "2026-11-22T13:45:01.123Z",
    "kind": "crash",
    "title": "worker 3 (pid 71) crashed in native code: SIGSEGV",
    "verdict": "native-crash",
    "confidence": "certain",
    "evidence": ("the wait status: SIGSEGV",),
    "pid": 71,
    "slot": 0,
    "generation": 1,
    "stage": "ready",
    "age_s": 12.5,
    "wait_status": {"signal": "SIGSEGV"},
    "in_flight": ({"method": "POST", "path": "/upload?token=geheim", "age_s": 0.4},),
    "more_in_flight": 2,
    "memory": {"samples": [{"age_s": 0.5, "private_bytes": 1024, "shared_bytes": 2048}]},
    "stacks": STACKS,
    "last_log": ("connected to postgresql://app:geheim@db/orders",),
    "app": "main:app",
    "release": "v1",
    "host": "web-1",
    "versions": {"python": "3.11.7"},
}


def event(environ: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """Return the event for a report that differs in this."""
    return event_of(REPORT | changes, environ or {}, "/app")


def test_the_report_is_found_in_the_event() -> None:
    """Tags, contexts, breadcrumbs, the stack with the innermost frame last."""
    made = event()
    (exception,) = made["exception"]["values"]
    (thread,) = made["threads"]["values"]

    assert {
        "verdict": "native-crash",
        "confidence": "certain",
        "kind": "crash",
        "stage": "ready",
        "app": "main:app",
    } == made["tags"]
    assert ("error", REPORT["title"], "v1", "web-1") == tuple(
        made[key] for key in ("level", "message", "release", "server_name")
    )
    assert ("Segmentation fault", REPORT["title"]) == (exception["type"], exception["value"])
    assert [("main.py", "upload", 17, True), ("images.py", "resize", 5, True), ("ctypes/__init__.py", "string_at")] == [
        tuple(frame[key] for key in ("filename", "function", "lineno", "in_app")[: 2 if number == 2 else 4])
        for number, frame in enumerate(exception["stacktrace"]["frames"])
    ]
    assert exception["thread_id"] == thread["id"]
    assert (True, True) == (thread["crashed"], thread["current"])
    assert {"requests": [{"method": "POST", "path": "/upload", "age_s": 0.4}], "more": 2} == made["contexts"][
        "in flight"
    ]
    assert {"signal": "SIGSEGV"} == made["contexts"]["worker"]["wait_status"]
    assert REPORT["memory"] == made["contexts"]["memory"]
    assert ["connected to postgresql://app:***@db/orders"] == [one["message"] for one in made["breadcrumbs"]["values"]]


def test_no_secret_is_in_it() -> None:
    """Wherever it was planted: passwords in any text, and the query of a path."""
    leak = "postgresql://app:geheim@db/orders and Authorization: Bearer geheim"
    made = event(
        title=leak,
        evidence=(leak,),
        last_log=(leak,),
        stacks=f'Traceback (most recent call last):\n  File "/app/main.py", line 1, in f\nOSError: {leak}\n',
        app=leak,
        memory={"samples": [{"note": leak}]},
    )

    assert "geheim" not in json.dumps(made)


def test_like_deaths_have_one_fingerprint() -> None:
    """It knows no line, no pid and no folder; another place, kind or verdict is another issue."""
    moved = STACKS.replace("line 5", "line 99").replace("0x00007f006c81eb80", "0x1")
    same = event(id="other", pid=5, title="worker 9 (pid 5) crashed", stacks=moved)
    elsewhere = event(stacks=STACKS.replace("resize", "crop"))

    assert ["crash", "native-crash", "images.py:resize"] == event()["fingerprint"] == same["fingerprint"]
    assert ["crash", "native-crash", "images.py:crop"] == elsewhere["fingerprint"]
    assert ["crash", "oom"] == event(verdict="oom", stacks="")["fingerprint"]


def test_without_verdict_and_stacks_the_title_decides_but_not_its_numbers() -> None:
    """A step that fails is one issue, whatever the exit code and however long it took."""
    first, second, other = (
        event(kind="step-failed", verdict=None, stacks="", pid=None, title=title)
        for title in ("step migrate failed after 3.1 s", "step migrate failed after 12.0 s", "step seed failed")
    )

    assert first["fingerprint"] == second["fingerprint"] != other["fingerprint"]
    assert "worker" not in first["contexts"]
    assert "exception" not in first


@pytest.mark.parametrize(
    ("kind", "level"),
    [("crash", "error"), ("crash-loop", "fatal"), ("step-failed", "fatal"), ("oom-kill", "warning")],
)
def test_the_level_tells_what_has_ended(kind: str, level: str) -> None:
    """The launcher, a worker, or something else."""
    assert level == event(kind=kind)["level"]


def test_the_event_id_is_made_from_the_report_id() -> None:
    """So a report that is sent twice is one event."""
    assert event()["event_id"] == event(title="again")["event_id"]
    assert event()["event_id"] != event(id="another")["event_id"]
    assert 32 == len(event()["event_id"])


def test_the_release_of_the_environment_wins() -> None:
    """SENTRY_RELEASE, else the report's, else none."""
    assert "v2" == event({"SENTRY_RELEASE": "v2"})["release"]
    assert "release" not in event(release="")


def test_a_traceback_is_told_as_it_was_raised() -> None:
    """With its own type and text; the title is the message."""
    text = 'Traceback (most recent call last):\n  File "/app/main.py", line 3, in <module>\nImportError: no x\n'
    made = event(kind="boot-failed", verdict="boot-failed", stacks=text)
    (exception,) = made["exception"]["values"]

    assert ("ImportError", "no x") == (exception["type"], exception["value"])
    assert {"type": "asgi-launcher", "handled": False} == exception["mechanism"]
    assert ["boot-failed", "boot-failed", "main.py:<module>"] == made["fingerprint"]
    assert "threads" not in made


def test_a_report_of_an_older_launcher_is_enough() -> None:
    """What it does not say is left out."""
    made = event_of({"id": "r1", "at": "2026-01-02T03:04:05Z", "kind": "crash", "verdict": "oom"}, {}, "/app")

    assert "crash: oom" == made["message"]
    assert ["crash", "oom"] == made["fingerprint"]
