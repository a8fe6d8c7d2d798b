"""Does a report say everything, in bounds, and nothing secret?"""

from __future__ import annotations

import enum
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import launcher
from launcher.incidents.report import fitted, new_report, rfc3339, size_bytes, versions

SECRET, HALF = "hunter2hunter2", "hunter2"
LEAKS = [
    f"postgresql://shop:{SECRET}@db/shop",
    f"password={SECRET}",
    f'{{"token": "{SECRET}"}}',
    f"Authorization: Bearer {SECRET}",
    f"GET /pay?card={SECRET} HTTP/1.1",
    f"https://shop.test/a/b?{SECRET}",
    f"see (/pay?{SECRET})",
    f"MYSQL_PWD={SECRET}",
    f"dump --password {SECRET} db",
    f"Cookie: theme=dark; sid={SECRET}",
    f"https://{SECRET}@shop.test/a",
    f"https://hooks.slack.com/services/T0/B0/{SECRET}",
    f"Bearer eyJ{SECRET}.{SECRET}.x",
]
LONG_STACKS = "".join(f'  File "/app/module_{number}.py", line {number} in f\n' for number in range(20_000))


class Stage(enum.StrEnum):
    """A string of its own type, as the scoreboard has."""

    READY = "ready"


def large() -> dict[str, Any]:
    """Return a report of which every list is long."""
    return new_report(
        "crash",
        "a worker died " * 20,
        stacks=LONG_STACKS,
        evidence=["because " * 20] * 50,
        last_log=[f"line {number} " * 20 for number in range(50)],
        in_flight=[{"method": "GET", "path": f"/{number}" * 20, "age_s": 1.0} for number in range(50)],
        more_in_flight=3,
        memory={"samples": [{"age_s": 1.0, "private_bytes": 1 << 30, "shared_bytes": 0}] * 50},
    )


def test_every_key_is_there() -> None:
    """A report of two words has what a report of many has; where and when it was made is found."""
    short = new_report("crash", "it died")

    assert large().keys() == short.keys()
    assert short["at"].replace("-", "").replace(":", "") == short["id"].rpartition("-")[0]
    assert (1, None, "certain", []) == tuple(short[key] for key in ("schema", "verdict", "confidence", "evidence"))
    assert {"samples": [], "group": {}, "counters": {}} == short["memory"]


def test_ids_sort_by_time() -> None:
    """And no two are the same, also of the same microsecond."""
    ids = [new_report("crash", "it died", versions={})["id"] for _ in range(200)]
    times = [one.rpartition("-")[0] for one in ids]

    assert 200 == len(set(ids))
    assert sorted(times) == times


@pytest.mark.parametrize(("seconds", "text"), [(0.9999999, "00:00:01.000000"), (0.25, "00:00:00.250000")])
def test_a_time_has_six_digits(seconds: float, text: str) -> None:
    """Rounded to the microsecond, into the next second where need be."""
    assert f"1970-01-01T{text}Z" == rfc3339(seconds)


def test_what_no_report_says_is_refused() -> None:
    """Another kind, another key."""
    with pytest.raises(ValueError, match="kind: 'party' is none of crash, boot-failed"):
        new_report("party", "it died")
    with pytest.raises(TypeError, match="colour"):
        new_report("crash", "it died", colour="red")


def test_it_is_json() -> None:
    """Paths, enumerations, exceptions, tuples, sets of one and numbers that JSON does not have are made fit."""
    report = new_report(
        "crash",
        "two\nlines",
        stage=Stage.READY,
        app=Path("app"),
        last_log=(OSError("no"), b"\xff"),
        age_s=1.0000001,
        restarts_in_window=True,
        evidence=("lone \udc80 surrogate",),
        memory={"group": {"usage_bytes": float("nan"), 1: {2}}},
    )

    assert report == json.loads(json.dumps(report, allow_nan=False))
    assert ("two lines", "ready", "app", 1.0) == tuple(report[key] for key in ("title", "stage", "app", "age_s"))
    assert {"usage_bytes": None, "1": [2]} == report["memory"]["group"]
    assert ["lone \\udc80 surrogate"] == report["evidence"]
    assert report["title"].encode()


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("cut", [0, 250, 1000, 4000, 1 << 16, 1 << 17], ids="cut-at-{}".format)
def test_nothing_secret_is_in_it(leak: str, cut: int) -> None:
    """Not in any string, not in any key, and not a half of it where a text is cut."""
    padding = max(0, cut - leak.index(SECRET) - len(HALF))
    text = f"{('x ' * cut)[:padding]}{leak} {'y ' * cut}"
    texts = {key: text for key, value in new_report("crash", "x").items() if isinstance(value, str)}
    report = new_report(
        **(texts | {"kind": "crash", "title": text, "confidence": "guess"}),
        evidence=[text, leak],
        last_log=[text, leak],
        in_flight=[{"method": leak, "path": f"/pay?{leak}", "age_s": 1.0}],
        wait_status={leak: leak},
        memory={"samples": [{leak: leak}], "group": {"a": [leak]}, leak: {leak: leak}},
    )

    assert HALF not in json.dumps(report)
    assert HALF not in json.dumps(fitted(report, 10_000))
    assert "/pay" == report["in_flight"][0]["path"]


def test_texts_are_bounded() -> None:
    """Of what is long, the beginning and the end stay; what was left out is counted."""
    report = new_report("crash", "a" * 9000, stacks=LONG_STACKS, last_log=["b" * 9000] * 900, evidence=["c" * 9000])
    stacks = report["stacks"].splitlines()

    assert 520 > len(report["title"])
    assert (LONG_STACKS.splitlines()[0], LONG_STACKS.splitlines()[-1]) == (stacks[0], stacks[-1])
    assert any("characters are left out" in line for line in stacks)
    assert 140_000 > len(report["stacks"]) > 120_000
    assert 100 == len(report["last_log"])
    assert 2100 > len(report["evidence"][0])


@pytest.mark.parametrize("most_bytes", [2_048, 4_000, 10_000, 20_000, 60_000, 1 << 16, 100_000])
@pytest.mark.parametrize("letter", ["a", "\u20ac", "\U0001f600", "\n", "\x00"], ids=ascii)
def test_it_fits(most_bytes: int, letter: str) -> None:
    """Whatever the characters, the JSON is as short as was asked, and what is left is a report still."""
    report = large() | {"stacks": letter * 50_000} | dict.fromkeys(("app", "release", "host", "stage"), letter * 300)
    fit = fitted(report, most_bytes)

    assert most_bytes >= size_bytes(fit)
    assert report.keys() == fit.keys()
    assert (report["id"], 53) == (fit["id"], fit["more_in_flight"] + len(fit["in_flight"]))


def test_what_fits_stays() -> None:
    """A report that is short enough is the same. Stacks are cut first, in the middle; what was given is not changed."""
    report = large()
    before = json.dumps(report)
    fit = fitted(report, 100_000)

    assert report == fitted(report, 1 << 20)
    assert {"stacks"} == {key for key in report if report[key] != fit[key]}
    assert report["stacks"].splitlines()[0] == fit["stacks"].splitlines()[0]
    assert report["stacks"].splitlines()[-1] == fit["stacks"].splitlines()[-1]
    assert size_bytes(fit) > 90_000
    assert before == json.dumps(report)


def test_of_the_log_the_newest_stays() -> None:
    """What a worker said last is what it died of."""
    report = large() | {"stacks": ""}
    fit = fitted(report, size_bytes(report) - 1000)

    assert 0 < len(fit["last_log"]) < 50
    assert report["last_log"][-len(fit["last_log"]) :] == fit["last_log"]


def test_versions_are_those_installed() -> None:
    """Found without importlib.metadata, which costs 5 MB; they are those that it finds."""
    expected = {name: version(name) for name in ("uvicorn", "gunicorn")}

    assert expected | {"python": sys.version.split()[0], "launcher": launcher.__version__} == versions()
    assert {} == new_report("crash", "it died", versions={})["versions"]
