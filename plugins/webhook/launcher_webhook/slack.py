"""How does a report read in Slack?

Limits: docs.slack.dev, "Block Kit": 50 blocks a message, 3000 characters a text, 150 a header, 2000 each of 10 fields.
Text is escaped as "Formatting message text" has it, so that nothing of a report becomes a mention or a link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from launcher.units import human_bytes, human_seconds

_MOST_TEXT, _MOST_HEADER, _MOST_FIELD = 3000, 150, 2000
_LAST_LINES = 10
_MOST_REQUESTS = 10
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def message(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message: `text` for notifications, `blocks` for the screen."""
    title = str(report.get("title") or f"{report.get('kind')}: {report.get('verdict') or 'no verdict'}")
    parts = [
        {"type": "header", "text": {"type": "plain_text", "text": _shortened(title, _MOST_HEADER), "emoji": False}},
        {"type": "section", "fields": [_mrkdwn(f"*{name}*\n", value, _MOST_FIELD) for name, value in _facts(report)]},
        *_section("*Evidence*\n", "\n".join(f"• {one}" for one in report.get("evidence") or ())),
        *_section("*Requests in flight*\n", "\n".join(_requests(report))),
        *_section("*Stacks* (the last lines)\n```", _last_lines(report.get("stacks")), "```"),
        {"type": "context", "elements": [_mrkdwn("", _source(report), _MOST_FIELD)]},
    ]
    return {"text": _escaped(title, _MOST_TEXT), "blocks": parts}


def _facts(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield what there is: at most 8, of the 10 that Slack shows."""
    verdict = report.get("verdict")
    facts = [
        ("Kind", report.get("kind")),
        ("Verdict", verdict and f"{verdict} ({report.get('confidence')})"),
        ("Ended with", _end(report.get("wait_status") or {})),
        ("Worker", _worker(report)),
        ("Memory", _memory(report.get("memory") or {})),
        ("Exit code of the launcher", report.get("exit_code")),
        ("Application", " ".join(str(report[key]) for key in ("app", "release") if report.get(key))),
        ("Host", report.get("host")),
    ]
    return [(name, str(value)) for name, value in facts if value not in {None, ""}]


def _end(status: Mapping[str, Any]) -> str:
    if "signal" in status:
        return str(status["signal"])
    return f"exit status {status['code']}" if "code" in status else ""


def _worker(report: Mapping[str, Any]) -> str:
    if report.get("pid") is None:
        return ""
    known = [f"pid {report['pid']}"]
    known += [f"{key} {report[key]}" for key in ("slot", "generation", "stage") if report.get(key) not in {None, ""}]
    age_s = report.get("age_s")
    return ", ".join([*known, f"lived {human_seconds(age_s)}"] if isinstance(age_s, int | float) else known)


def _memory(memory: Mapping[str, Any]) -> str:
    newest = min(memory.get("samples") or [{}], key=lambda sample: float(sample.get("age_s") or 0))
    private, limit = newest.get("private_bytes"), (memory.get("group") or {}).get("limit_bytes")
    said = [f"{human_bytes(private)} private"] if isinstance(private, int) else []
    return ", ".join([*said, f"limit {human_bytes(limit)}"] if isinstance(limit, int) else said)


def _requests(report: Mapping[str, Any]) -> list[str]:
    requests = list(report.get("in_flight") or ())
    lines = [f"{one.get('method', '')} {one.get('path', '')} ({one.get('age_s', '?')} s)" for one in requests]
    more = max(0, len(lines) - _MOST_REQUESTS) + int(report.get("more_in_flight") or 0)
    return lines[:_MOST_REQUESTS] + ([f"and {more} more"] if more else [])


def _last_lines(stacks: object) -> str:
    """Return the last lines; what would end the code block is written otherwise."""
    return "\n".join(str(stacks or "").rstrip().splitlines()[-_LAST_LINES:]).replace("```", "'''")


def _source(report: Mapping[str, Any]) -> str:
    versions: Mapping[str, Any] = report.get("versions") or {}
    return " · ".join([f"{report.get('at')}", f"report {report.get('id')}", *(f"{k} {v}" for k, v in versions.items())])


def _section(before: str, text: str, after: str = "") -> Sequence[dict[str, Any]]:
    """Return one section, none for no text."""
    return [{"type": "section", "text": _mrkdwn(before, text, _MOST_TEXT, after)}] if text else []


def _mrkdwn(before: str, text: str, most: int, after: str = "") -> dict[str, Any]:
    fitting = _escaped(text, most - len(before) - len(after), from_end=bool(after))
    return {"type": "mrkdwn", "text": f"{before}{fitting}{after}", "verbatim": True}


def _escaped(text: str, most: int, *, from_end: bool = False) -> str:
    """Return as much of it, escaped, as fits: an escape is not cut in two."""
    pieces = [_ESCAPES.get(letter, letter) for letter in text]
    if sum(map(len, pieces)) <= most:
        return "".join(pieces)
    kept: list[str] = []
    left = most - 1
    for piece in reversed(pieces) if from_end else pieces:
        left -= len(piece)
        if left < 0:
            break
        kept.append(piece)
    return "…" + "".join(reversed(kept)) if from_end else "".join(kept) + "…"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
