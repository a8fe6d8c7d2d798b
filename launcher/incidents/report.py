"""What does a report say?

Every key of schema 1 is always there. What is made here can be shown to anybody: passwords are masked, requests have no
query, every text has an end.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from launcher import __version__
from launcher.incidents.kinds import Kind
from launcher.masking import masked

SCHEMA = 1
KINDS: tuple[str, ...] = get_args(Kind)
ID = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{6}", re.ASCII)

# Characters. faulthandler writes at most 100 threads of 100 frames, some 80 characters each; few processes have ten.
_MOST_OF_TITLE, _MOST_OF_STACKS = 500, 1 << 17
_MOST_OF_A_TEXT = 2000
_MOST_ENTRIES = 100  # of a list
_CUT = "\n... {} characters are left out ...\n"
_LEFT_OF_A_TEXT = 100  # in the smallest report: bytes


def new_report(
    kind: str,
    title: str,
    *,
    verdict: str | None = None,
    confidence: str = "certain",
    evidence: Sequence[str] = (),
    **facts: Any,
) -> dict[str, Any]:
    """Return a report of schema 1: every key, redacted and bounded, only what JSON has.

    facts: further keys of the schema; `id`, `at`, `host`, `launcher_pid` (this process) and `versions` are found when
    they are not given. Raises ValueError for another kind, TypeError for a key that the schema does not have.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is none of {', '.join(KINDS)}")
    report = _empty()
    if unknown := sorted(facts.keys() - report.keys()):
        raise TypeError(f"no key of a report: {', '.join(unknown)}")
    said = {"kind": kind, "title": title, "verdict": verdict, "confidence": confidence, "evidence": evidence}
    report.update(facts, **said)
    if not report["versions"] and "versions" not in facts:
        report["versions"] = versions()
    return {key: _shown(key, value) for key, value in report.items()}


def fitted(report: Mapping[str, Any], most_bytes: int) -> dict[str, Any]:
    """Return the report with its JSON in at most `most_bytes` (not below 2 KiB).

    Cut in this order, until it fits: stacks (both ends stay), the oldest lines of the log, requests (they are counted),
    samples of the memory, evidence, the title, and at the very end every text that is left.
    """
    fit = dict(report)
    for shorten in (_less_stacks, _less_log, _fewer_requests, _fewer_samples, _less_evidence, _short_texts):
        if (excess := size_bytes(fit) - most_bytes) <= 0:
            break
        shorten(fit, excess)
    return fit


def size_bytes(report: Mapping[str, Any]) -> int:
    """Return how long its JSON is."""
    return len(as_json(report))


def as_json(report: Mapping[str, Any]) -> bytes:
    """Return what is written to files and sent: ASCII."""
    return json.dumps(report, default=str).encode()


def versions() -> dict[str, str]:
    """Return the versions of Python, the launcher and the servers; "" for what is not installed."""
    found = {"python": sys.version.split()[0], "launcher": __version__}
    return found | {name: _version(name) for name in ("uvicorn", "gunicorn")}


def rfc3339(seconds: float) -> str:
    """Return a time since the epoch, in UTC, to the microsecond."""
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{micros:06d}Z"


def hostname() -> str:
    """Return the name of this host: in a container, of the container or the pod."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def _empty() -> dict[str, Any]:
    at = rfc3339(time.time())
    return {
        "schema": SCHEMA,
        "id": f"{at.replace('-', '').replace(':', '')}-{os.urandom(3).hex()}",
        "at": at,
        "kind": "",
        "title": "",
        "verdict": None,
        "confidence": "certain",
        "evidence": [],
        "pid": None,
        "slot": None,
        "generation": None,
        "number": None,
        "stage": "",
        "age_s": 0.0,
        "wait_status": {},
        "exit_code": None,
        "in_flight": [],
        "more_in_flight": 0,
        "memory": {},
        "stacks": "",
        "last_log": [],
        "restarts_in_window": 0,
        "merged": 0,
        "app": "",
        "release": "",
        "host": hostname(),
        "launcher_pid": os.getpid(),
        "versions": {},
    }


def _shown(key: str, value: Any) -> Any:
    """Return what the report says for a key."""
    if key == "title":
        return _bounded(" ".join(str(value).split()), _MOST_OF_TITLE, " ... ")
    if key == "stacks":
        return _stacks(str(value or ""))
    if key == "memory":
        return {"samples": [], "group": {}, "counters": {}} | (_plain(value) or {})
    return _plain(value)


def _plain(value: Any, name: str = "") -> Any:
    """Return JSON's own types: numbers that JSON does not have become None, objects their text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {masked(str(key)): _plain(one, str(key)) for key, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(one) for one in list(value)[:_MOST_ENTRIES]]
    text = str(value)
    return _bounded(text.split("?", maxsplit=1)[0] if name == "path" else text, _MOST_OF_A_TEXT)


def _bounded(text: str, most: int, cut: str = _CUT) -> str:
    """Return the text masked, then cut: what a cut leaves of a password could not be recognised.

    What is very long is cut before as well, so that masking takes no time; that place is cut out again.
    """
    return _ends(masked(_ends(text, 4 * most, cut)), most, cut)


def _stacks(text: str) -> str:
    """Return the text masked by the line, of which each has an end of its own, then cut.

    Of what is very long only whole lines are masked: in a part of one a password could not be recognised.
    """
    lines = text.split("\n")
    if len(text) > 2 * _MOST_OF_STACKS:
        lines = [*_within(lines), _CUT.strip("\n").format("many"), *reversed(list(_within(reversed(lines))))]
    return _ends("\n".join(_bounded(line, _MOST_OF_A_TEXT, " ... ") for line in lines), _MOST_OF_STACKS)


def _within(lines: Iterable[str]) -> Iterator[str]:
    """Yield the first lines, at most as many characters as are kept in all."""
    room = _MOST_OF_STACKS
    for line in lines:
        if (room := room - len(line) - 1) < 0:
            return
        yield line


def _ends(text: str, most: int, cut: str = _CUT) -> str:
    """Return at most about `most` characters: the beginning and the end, in whole lines where there are lines."""
    if len(text) <= most:
        return text
    head, tail = text[: most // 2], text[len(text) - most // 2 :]
    head, tail = head[: head.rfind("\n") + 1 or None], tail[tail.find("\n") + 1 :]
    return head.rstrip("\n") + cut.format(len(text) - len(head) - len(tail)) + tail


def _less_stacks(report: dict[str, Any], excess: int) -> None:
    stacks: str = report["stacks"]
    kept = len(stacks) - excess - len(_CUT) - 20  # a character is at least a byte; digits, and `\n` is two bytes
    report["stacks"] = _ends(stacks, kept) if kept > 0 else ""


def _less_log(report: dict[str, Any], excess: int) -> None:
    report["last_log"] = _dropped(report["last_log"], excess, oldest=True)


def _fewer_requests(report: dict[str, Any], excess: int) -> None:
    had: list[Any] = report["in_flight"]
    report["in_flight"] = _dropped(had, excess + 20)  # the digits of the count
    report["more_in_flight"] += len(had) - len(report["in_flight"])


def _fewer_samples(report: dict[str, Any], excess: int) -> None:
    memory = dict(report["memory"])
    report["memory"] = memory | {"samples": _dropped(memory.get("samples", []), excess, oldest=True)}


def _less_evidence(report: dict[str, Any], excess: int) -> None:
    report["evidence"] = _dropped(report["evidence"], excess)


def _short_texts(report: dict[str, Any], _excess: int) -> None:
    for key, value in report.items():
        if isinstance(value, str):
            report[key] = _short(value)
    report["memory"] = {}
    report["versions"] = {key: _short(str(value)) for key, value in report["versions"].items()}


def _short(text: str) -> str:
    """Return what takes a few bytes in JSON, where a character may take twelve."""
    plain = text if len(json.dumps(text)) <= _LEFT_OF_A_TEXT else re.sub(r"[^ -~]|[\"\\]", "?", text)
    return plain[:_LEFT_OF_A_TEXT]


def _dropped(entries: Sequence[Any], excess: int, *, oldest: bool = False) -> list[Any]:
    """Return the list without as many entries, the first or the last ones, as make up `excess` bytes."""
    kept = list(entries)
    while kept and excess > 0:
        excess -= len(json.dumps(kept.pop(0 if oldest else -1), default=str)) + 2
    return kept


def _version(name: str) -> str:
    """Return the version of a distribution; by the names of folders: importlib.metadata is 5 MB and 30 ms."""
    if isinstance(loaded := getattr(sys.modules.get(name), "__version__", None), str):
        return loaded
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - strings are what is compared
        except OSError:
            continue
        for one in names:
            if one.startswith(f"{name}-") and one.endswith(".dist-info"):
                return one[len(name) + 1 : -len(".dist-info")]
    return ""
