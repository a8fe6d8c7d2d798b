"""Does every line keep the one schema, and does no secret get into it?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.log import Log

URL = "postgresql://app:S3kret@db/orders"


def json_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what was written to stderr; nothing may have gone to stdout."""
    out, err = capsys.readouterr()

    assert "" == out
    return [json.loads(line) for line in err.splitlines()]


def test_the_schema_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    """A JSON line begins with timestamp, level and event; the facts follow in their order."""
    log = Log()
    log.configure("json", "info")
    log.info("launcher.lock_acquired", where="a.lock", waited_s=0.1)
    (line,) = json_lines(capsys)

    assert ["timestamp", "level", "event", "where", "waited_s"] == list(line)
    assert ("info", "launcher.lock_acquired") == (line["level"], line["event"])
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "fact",
    [
        URL,
        [URL],
        ({"url": URL},),
        {"deep": {"er": [URL]}},
        {URL},
        ValueError(f"no connection to {URL}"),
    ],
    ids=["text", "list", "tuple", "mapping", "set", "error"],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_facts_are_redacted(capsys: pytest.CaptureFixture[str], form: Any, fact: object) -> None:
    """A password is masked in whatever value it is."""
    log = Log()
    log.configure(form, "info")
    log.info("launcher.asked", fact=fact)
    _, err = capsys.readouterr()

    assert "S3kret" not in err
    assert "***" in err


def test_the_event_itself_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    """An event that was made from a text is masked as its facts are."""
    log = Log()
    log.configure("json", "info")
    log.error(URL)

    assert "postgresql://app:***@db/orders" == json_lines(capsys)[0]["event"]


def test_values_keep_their_types(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers, truth values and nothing stay what they are in JSON."""
    log = Log()
    log.configure("json", "info")
    log.info("launcher.counted", n=1, s=0.5, yes=True, none=None, many=[1, "a"], table={"a": 1})
    (line,) = json_lines(capsys)

    assert [1, 0.5, True, None, [1, "a"], {"a": 1}] == list(line.values())[3:]


def test_early_lines_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """What was said before the settings were read is written, in order, as soon as they are."""
    log = Log()
    log.info("launcher.first")
    log.debug("launcher.not_asked_for")
    silent = capsys.readouterr().err
    log.configure("json", "info")
    log.warning("launcher.second")

    assert "" == silent
    assert ["launcher.first", "launcher.second"] == [line["event"] for line in json_lines(capsys)]


def test_the_level_decides(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not written."""
    log = Log()
    log.configure("json", "warning")
    log.debug("launcher.a")
    log.info("launcher.b")
    log.warning("launcher.c")
    log.error("launcher.d")

    assert ["launcher.c", "launcher.d"] == [line["event"] for line in json_lines(capsys)]


def test_one_event_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line break, a control character or half a character in a fact does not break the JSON line."""
    log = Log()
    log.configure("json", "info")
    log.info("launcher.said", line="a\nb\r\x1b[0m\x00\ufffd€")

    assert ["a\nb\r\x1b[0m\x00\ufffd€"] == [line["line"] for line in json_lines(capsys)]
