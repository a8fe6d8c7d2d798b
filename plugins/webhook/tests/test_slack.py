"""Is a report readable in Slack, and within its limits?"""

from __future__ import annotations

import json
from typing import Any

from launcher_webhook.slack import message

REPORT: dict[str, Any] = {
    "id": "20261122T134501.123456Z-4f2a9c",
    "at": "2026-11-22T13:45:01.123Z",
    "kind": "crash",
    "title": "Worker 4711 was killed: out of memory",
    "verdict": "oom",
    "confidence": "certain",
    "evidence": ["oom_kill went from 3 to 4", "no other process died"],
    "pid": 4711,
    "slot": 0,
    "generation": 2,
    "stage": "ready",
    "age_s": 90.0,
    "wait_status": {"signal": "SIGKILL"},
    "in_flight": [{"method": "GET", "path": f"/orders/{number}", "age_s": 3.5} for number in range(12)],
    "more_in_flight": 30,
    "memory": {
        "samples": [{"age_s": 0.4, "private_bytes": 209715200}, {"age_s": 1.4, "private_bytes": 1}],
        "group": {"limit_bytes": 272629760},
    },
    "stacks": "".join(f"  File main.py, line {number}\n" for number in range(20)),
    "app": "main:app",
    "release": "2026.11",
    "host": "web-1",
    "versions": {"python": "3.11.2"},
}


def texts(value: object) -> list[str]:
    """Return every text of a message."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


def test_what_it_says() -> None:
    """Title, verdict, worker, evidence, requests with how many more, and the last ten lines in a code block."""
    shown = message(REPORT)
    said = "\n".join(texts(shown["blocks"]))

    assert shown["text"] == "Worker 4711 was killed: out of memory"
    assert "*Verdict*\noom (certain)" in said
    assert "pid 4711, slot 0, generation 2, stage ready, lived 1.5m" in said
    assert "200 MiB private, limit 260 MiB" in said
    assert "• oom_kill went from 3 to 4" in said
    assert "GET /orders/9 (3.5 s)\nand 32 more" in said
    assert "```  File main.py, line 10\n" in said
    assert "line 19```" in said
    assert "line 9\n" not in said


def test_a_report_of_no_worker() -> None:
    """What is not there is left out: no block is empty, as Slack would refuse it."""
    shown = message({"id": "1", "at": "now", "kind": "lock-lost", "title": "The lock was lost", "pid": None})

    assert ["header", "section", "context"] == [block["type"] for block in shown["blocks"]]
    assert all(texts(shown["blocks"]))
    assert "Worker" not in json.dumps(shown)


def test_the_limits() -> None:
    """However long a report is, and though escapes are longer than what they stand for."""
    long = "<&>`" * 5000
    report = {**REPORT, "title": long, "evidence": [long] * 3, "stacks": long, "host": long, "app": long}
    report["in_flight"] = [{"method": "GET", "path": long, "age_s": 1.0}] * 30
    blocks = message(report)["blocks"]
    sections = [block["text"]["text"] for block in blocks if "text" in block and block["type"] == "section"]

    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) == 150
    assert all(2900 < len(text) <= 3000 for text in sections)
    assert all(len(one["text"]) <= 2000 for block in blocks for one in block.get("fields", ()))
    assert sections[-1].startswith("*Stacks* (the last lines)\n```…")
    assert sections[-1].endswith("```")


def test_nothing_of_a_report_is_markup() -> None:
    """No mention, no link, and no end of the code block."""
    report = {**REPORT, "title": "<!channel> died", "stacks": "```\n<https://evil.example|click>"}
    shown = message(report)
    said = "\n".join(texts(shown["blocks"][1:]))

    assert shown["text"] == "&lt;!channel&gt; died"
    assert "'''\n&lt;https://evil.example|click&gt;```" in said
